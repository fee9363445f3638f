#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

_Noreturn void fail(const char *what)
{
    if (errno)
        perror(what);
    else
        fprintf(stderr, "%s\n", what);
    exit(1);
}

struct peer *peer_open(int fd, void (*heard)(struct peer *, char *))
{
    struct peer *peer = calloc(1, sizeof *peer);
    int yes = 1;
    struct timeval patience = {.tv_sec = 10};

    if (peer == NULL || (peer->buffer = malloc(ROOM + 1)) == NULL)
        fail("malloc");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    peer->fd = fd;
    peer->heard = heard;
    peer->room = ROOM;
    return peer;
}

void peer_close(struct peer *peer)
{
    errno = 0;
    if (peer->kept)
        fail("the agent closed a connection");
    close(peer->fd);
    free(peer->buffer);
    free(peer);
}

/* Bytes of the message that the buffer begins with, 0 while its head is not whole; `*body` is where its body starts. */
static size_t message_size(const struct peer *peer, char **body)
{
    char *end = memmem(peer->buffer, peer->used, "\r\n\r\n", 4), *length;

    if (end == NULL)
        return 0;
    *end = '\0';
    length = strcasestr(peer->buffer, "\r\nContent-Length:");
    *end = '\r';
    if (length == NULL)
        fail("a message without Content-Length");
    *body = end + 4;
    return *body - peer->buffer + strtoul(length + 17, NULL, 10);
}

static void hand_over(struct peer *peer)
{
    char *body = NULL;
    size_t size;

    while ((size = message_size(peer, &body)) && size <= peer->used) {
        char follows = peer->buffer[size];
        peer->buffer[size] = '\0';
        peer->heard(peer, body);
        peer->buffer[size] = follows;
        peer->used -= size;
        memmove(peer->buffer, peer->buffer + size, peer->used);
    }
}

int peer_read(struct peer *peer)
{
    ssize_t got = recv(peer->fd, peer->buffer + peer->used, peer->room - peer->used, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return 1;
    if (got <= 0)
        return 0;
    peer->used += got;
    hand_over(peer);
    if (peer->used == peer->room)
        fail("a message is too large");
    return 1;
}

void peer_send(struct peer *peer, const char *head, const char *body)
{
    char text[512];
    size_t size = strlen(body);
    int length = snprintf(text, sizeof text, "%sContent-Type: text/xml\r\nContent-Length: %zu\r\n\r\n", head, size);
    struct iovec parts[] = {{text, length}, {(char *)body, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    errno = 0;
    if (sendmsg(peer->fd, &message, MSG_NOSIGNAL) != (ssize_t)(length + size)) /* blocks until all is taken */
        fail("sendmsg");
}
