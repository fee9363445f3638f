/* The monitoring server's commanding half: clients that send their next request when the last one was answered. */
#define _GNU_SOURCE
#include "clients.h"
#include "orders.h"
#include "wire.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALL "<?xml version='1.0'?><methodCall><methodName>%s</methodName><params>"
#define ENTRY "<value><struct><member><name>methodName</name><value><string>cmd_submit_reading</string></value></member>" \
    "<member><name>params</name><value><array><data><value>%s%u</string></value><value><string>tiny</string></value>" \
    "</data></array></value></member></struct></value>"
#define OK "<string>OK</string>"

struct plan plan = {.clients = 1, .per_call = 1, .callbacks = 1, .window = 1, .most = 1000, .kind = 'n'};

static struct client {
    struct peer *peer;
    unsigned first; /* command of the request under way */
    int parked;     /* whether none is */
} all[CLIENTS];

static const char *request(void)
{
    static char text[PER_CALL * (sizeof ENTRY + 100) + 1000];
    char *end = text;

    if (plan.kind == 'h') {
        sprintf(text, CALL "</params></methodCall>", "healthcheck");
    } else if (plan.per_call == 1) {
        end += sprintf(end, CALL "<param><value>%s%u</string></value></param>", "cmd_submit_reading", opening,
                       plan.kind == 'r' ? 0 : issued);
        strcpy(end, "<param><value><string>tiny</string></value></param></params></methodCall>");
    } else {
        end += sprintf(end, CALL "<param><value><array><data>", "system.multicall");
        for (int i = 0; i < plan.per_call; i++)
            end += sprintf(end, ENTRY, opening, issued + i);
        strcpy(end, "</data></array></value></param></params></methodCall>");
    }
    return text;
}

int clients_finished(void)
{
    return now() >= plan.until || issued + plan.per_call > plan.most;
}

static void send_next(struct client *client)
{
    client->parked = 1;
    if (clients_finished() || (plan.callbacks && issued - delivered + plan.per_call > plan.window))
        return;
    client->parked = 0;
    client->first = issued;
    const char *body = request();
    double time = now();
    for (int i = 0; i < plan.per_call; i++)
        orders[issued++].sent = time;
    peer_send(client->peer, "POST /xmlrpc/ HTTP/1.1\r\nHost: localhost\r\n", body);
}

void clients_go_on(void)
{
    for (int i = 0; i < plan.clients; i++)
        if (all[i].parked)
            send_next(&all[i]);
}

static void answered(struct peer *peer, char *body)
{
    struct client *client = all;
    int count = 0;
    double time = now();

    while (client->peer != peer)
        client++;
    for (char *at = body; (at = strstr(at, OK)) != NULL; at++)
        count++;
    if (count != plan.per_call) {
        fprintf(stderr, "refused: %s\n", body);
        exit(1);
    }
    for (int i = 0; i < count; i++)
        orders[client->first + i].acknowledged = time;
    acknowledged += count;
    send_next(client);
}

void clients_connect(int events)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(plan.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    for (int i = 0; i < plan.clients; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
            fail("connect");
        all[i] = (struct client){.peer = peer_open(fd, answered), .parked = 1};
        all[i].peer->kept = 1;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = all[i].peer};
        if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event))
            fail("epoll_ctl");
    }
}
