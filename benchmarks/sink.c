/* The server that results go to: it takes everything, answers at once and keeps book of every ticket. */
#define _GNU_SOURCE
#include "orders.h"
#include "wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RESPONSE "<?xml version='1.0'?><methodResponse><params><param><value>"
#define RESPONSE_END "</value></param></params></methodResponse>"
#define OK "<value><array><data><value><string>OK</string></value></data></array></value>"
#define READING "<int>0</int></value><value><string>1</string>" /* what the tiny sensor exits with and prints */

enum { CALLS = 1000 };

static const char head[] = "HTTP/1.1 200 OK\r\n";
static const char taken[] = RESPONSE "<string>OK</string>" RESPONSE_END;
static const char extended[] = RESPONSE "<struct><member><name>monagent</name><value><struct><member><name>specVersion"
                               "</name><value><int>1</int></value></member></struct></value></member></struct>" RESPONSE_END;

static int listening, watched;
static void (*delivery)(void);

static void note(unsigned long number, const char *after)
{
    const char *reading = strstr(after, "<int>");

    if (number >= issued) {
        unknown++;
        return;
    }
    if (reading == NULL || strncmp(reading, READING, sizeof READING - 1))
        wrong++;
    if (orders[number].arrivals++ == 0) {
        orders[number].delivered = now();
        delivered++;
    }
}

static void note_all(char *body)
{
    for (char *at = body; (at = strstr(at, opening)) != NULL;) {
        unsigned long number = strtoul(at + strlen(opening), &at, 10);
        note(number, at);
    }
}

static const char *as_many(const char *body)
{
    static char answer[sizeof RESPONSE RESPONSE_END + CALLS * sizeof OK + 64];
    char *end = stpcpy(answer, RESPONSE "<array><data>");
    int calls = 0;

    for (; (body = strstr(body, "<name>methodName</name>")) != NULL; body++, calls++) {
        if (calls == CALLS)
            fail("a multicall of too many calls");
        end = stpcpy(end, OK);
    }
    strcpy(end, "</data></array>" RESPONSE_END);
    return answer;
}

static void heard(struct peer *peer, char *body)
{
    const char *answer = taken;

    note_all(body);
    if (strstr(body, "<methodName>system.getCapabilities<"))
        answer = extended;
    else if (strstr(body, "<methodName>system.multicall<"))
        answer = as_many(body);
    peer_send(peer, head, answer);
    delivery();
}

void sink_open(int listener, int events, void (*on_delivery)(void))
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    listening = listener;
    watched = events;
    delivery = on_delivery;
    if (epoll_ctl(events, EPOLL_CTL_ADD, listener, &event))
        fail("epoll_ctl");
}

void sink_accept(void)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};

    if (fd < 0)
        fail("accept");
    event.data.ptr = peer_open(fd, heard);
    if (epoll_ctl(watched, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}
