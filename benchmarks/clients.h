/* The clients of one run, and what they are to do. */
#ifndef CLIENTS_H
#define CLIENTS_H

enum { CLIENTS = 64, PER_CALL = 100 };

extern struct plan {
    int port;        /* the agent's, on loopback */
    char kind;       /* of command: n = new tickets, r = the same ticket again and again, h = healthcheck */
    int clients;     /* connections */
    int per_call;    /* commands in one request; more than one go as a multicall */
    int callbacks;   /* whether results are expected */
    unsigned window; /* commands on their way to their callback, at most */
    unsigned most;   /* commands in all, at most */
    double until;    /* when the last one is sent */
} plan;

void clients_connect(int events);
void clients_go_on(void); /* send what the window has room for again */
int clients_finished(void);

#endif
