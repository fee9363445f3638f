/* load: command an agent over kept connections as fast as it answers, take its results, and tell what that cost.
 *
 * One thread for the clients and for the sink, so that the measuring leaves the cores to what is measured. A client
 * sends its next request when the last one was answered, and while no more than -w commands are on their way to
 * their callback. Figures go to stdout as JSON; times are in seconds.
 */
#define _GNU_SOURCE
#include "clients.h"
#include "orders.h"
#include "wire.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, PATIENCE = 20, LINGER_MS = 100 };

struct order *orders;
unsigned issued, acknowledged, delivered, unknown, wrong;
char opening[64];

static int listener = -1;
static double seconds = 1;
static pid_t agent;

static void serve(int events, int milliseconds)
{
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(events, ready, EVENTS, milliseconds);

    for (int i = 0; i < count; i++) {
        struct peer *peer = ready[i].data.ptr;
        if (peer == NULL)
            sink_accept();
        else if (!peer_read(peer))
            peer_close(peer);
    }
}

static double cpu(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time))
        fail("clock_gettime");
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int ascending(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void print_percentiles(const char *name, size_t end)
{
    double *times = malloc((issued + 1) * sizeof *times);

    for (unsigned i = 0; i < issued; i++)
        times[i] = *(double *)((char *)&orders[i] + end) - orders[i].sent;
    qsort(times, issued, sizeof *times, ascending);
    printf("\"%s_p50\": %.7f, \"%s_p99\": %.7f, ", name, times[issued / 2], name, times[issued * 99 / 100]);
    free(times);
}

/* See clients.h for what the plan's members mean. */
static void read_options(int count, char **words)
{
    for (int option; (option = getopt(count, words, "l:p:a:t:k:c:m:w:n:s:x")) != -1;)
        switch (option) {
        case 'l': listener = atoi(optarg); break; /* descriptor of the sink's listening socket */
        case 'p': plan.port = atoi(optarg); break;
        case 'a': agent = atoi(optarg); break; /* the agent's process, whose CPU time is read */
        case 't': snprintf(opening, sizeof opening, "<string>%s-", optarg); break; /* what tickets begin with */
        case 'k': plan.kind = optarg[0]; break;
        case 'c': plan.clients = atoi(optarg); break;
        case 'm': plan.per_call = atoi(optarg); break;
        case 'w': plan.window = atoi(optarg); break;
        case 'n': plan.most = atoi(optarg); break;
        case 's': seconds = atof(optarg); break; /* how long commands are sent */
        case 'x': plan.callbacks = 0; break;
        default: exit(2);
        }
    if (plan.clients < 1 || plan.clients > CLIENTS || plan.per_call < 1 || plan.per_call > PER_CALL || plan.most < 1 ||
        opening[0] == '\0')
        fail("an option is missing or out of range");
}

int main(int count, char **words)
{
    clockid_t clock;
    int events = epoll_create1(EPOLL_CLOEXEC);

    read_options(count, words);
    if ((orders = calloc(plan.most, sizeof *orders)) == NULL || (errno = clock_getcpuclockid(agent, &clock)))
        fail("the agent's clock");
    sink_open(listener, events, clients_go_on);
    clients_connect(events);

    double started = now(), agent_cpu = cpu(clock), own_cpu = cpu(CLOCK_PROCESS_CPUTIME_ID);
    plan.until = started + seconds;
    clients_go_on();
    while (!clients_finished() || acknowledged < issued || (plan.callbacks && delivered < issued)) {
        serve(events, 20);
        if (now() > plan.until + PATIENCE) {
            fprintf(stderr, "gave up: %u sent, %u acknowledged, %u delivered\n", issued, acknowledged, delivered);
            return 1;
        }
    }
    double taken = now() - started;
    agent_cpu = cpu(clock) - agent_cpu;
    own_cpu = cpu(CLOCK_PROCESS_CPUTIME_ID) - own_cpu;
    for (double linger = now() + LINGER_MS / 1e3; now() < linger;) /* a repeat would come now */
        serve(events, LINGER_MS / 10);

    unsigned repeated = 0;
    for (unsigned i = 0; i < issued; i++)
        repeated += orders[i].arrivals > 1;
    printf("{\"commands\": %u, \"seconds\": %.6f, \"agent_cpu\": %.6f, \"load_cpu\": %.6f, ", issued, taken, agent_cpu,
           own_cpu);
    print_percentiles("acknowledged", offsetof(struct order, acknowledged));
    print_percentiles("delivered", offsetof(struct order, delivered));
    printf("\"missing\": %u, \"repeated\": %u, \"unknown\": %u, \"wrong\": %u}\n",
           plan.callbacks ? issued - delivered : 0, repeated, unknown, wrong);
    return 0;
}
