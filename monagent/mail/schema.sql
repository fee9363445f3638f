-- Mails that wait for a mail server to take them, and what became of those before.
-- A mail is settled when each recipient is; its text is dropped then, and its row kept for a week.
create table if not exists mail (
    id          integer primary key autoincrement, -- the order in which they were made
    key         text unique,          -- of the job that asked for it: what was asked for once is sent once; null: nobody waits
    report      text not null,
    subject     text not null,
    message_id  text not null,
    sender      text not null,
    incidents   text not null,        -- JSON array of names; a mail never overtakes another one of its incident
    made        real not null,        -- seconds since the epoch, like all times here
    whole       blob,                 -- as it is sent
    lean        blob,                 -- without attachments, where it has some
    too_large   integer not null default 0, -- 1: only the lean one is left to be tried
    attempts    integer not null default 0,
    next_try    real not null default 0,
    settled     real
);
create index if not exists mail_waiting on mail (id) where settled is null;
create index if not exists mail_settled on mail (settled) where settled is not null;
create table if not exists recipient (
    mail        integer not null references mail,
    address     text not null,
    state       text not null default 'waiting', -- -> taken | refused | given up
    reply       text not null default '',
    primary key (mail, address)
) without rowid;
-- The mails of one incident form one thread.
create table if not exists thread (
    incident    text not null,
    message_id  text not null,
    made        real not null,
    primary key (incident, message_id)
) without rowid;
create index if not exists thread_made on thread (made);
-- What the agent's alarms remember; changed together with the mails that tell of it.
create table if not exists memory (
    name        text primary key,
    value       text not null
) without rowid;
