/* Kept HTTP connections over blocking sockets, framed by Content-Length and nothing else. */
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>

struct peer {
    int fd;
    void (*heard)(struct peer *peer, char *body); /* a whole message has come; `body` ends with NUL */
    int kept; /* whether the other side has no reason to close it */
    char *buffer;
    size_t used, room;
};

double now(void);                      /* seconds, monotonic */
_Noreturn void fail(const char *what); /* print it, with errno where that is set, and exit with 1 */

struct peer *peer_open(int fd, void (*heard)(struct peer *, char *));
int peer_read(struct peer *peer); /* take what is there; 0 once the other side has closed */
void peer_send(struct peer *peer, const char *head, const char *body); /* `head` lacks the length and the empty line */
void peer_close(struct peer *peer);

#endif
