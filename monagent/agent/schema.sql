-- One row a command, from its acceptance to long after its delivery.
-- state: accepted -> finished -> delivered | rejected | closed
--   closed: done with, but nothing was handed in (a command result for a server of the original dialect)
-- remembered: 1 while the ticket must be recognised; a plain server may use a delivered ticket again.
create table if not exists command (
    id          integer primary key autoincrement, -- never given away again: records beside the journal name it
    ticket      text,                 -- null: a form of the original system without one
    ticket_is_int integer not null,
    remembered  integer not null,
    fingerprint blob not null,        -- of method and arguments: is a repeated ticket the same command?
    method      text not null,
    arguments   text,                 -- JSON; null once trimmed
    state       text not null,
    received    real not null,        -- seconds since the epoch, like all times here
    finished    real,
    completed   integer,              -- order of completion
    outcome     text,                 -- JSON; null until finished, and once trimmed
    attempts    integer not null default 0,
    next_try    real not null default 0,
    closed      real,                 -- when it was delivered, rejected or closed
    refusal     text                  -- what the server said when it refused the result last
);
create unique index if not exists command_ticket on command (ticket) where remembered;
create index if not exists command_accepted on command (id) where state = 'accepted';
create index if not exists command_finished on command (completed) where state = 'finished';
create index if not exists command_rejected on command (completed) where state = 'rejected';
create index if not exists command_closed on command (closed) where closed is not null;
