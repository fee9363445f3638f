/* spawn PROGRAM THREADS SECONDS: how often a second this machine can start a program, read what it prints and reap it.
 *
 * Nothing else is done, so no agent can do better. Prints the rate as one number.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16 };

static char *program;
static double until;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void run_once(void)
{
    char *arguments[] = {program, NULL}, *environment[] = {NULL}, output[256];
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC))
        fail("pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    if (posix_spawn(&pid, program, &actions, NULL, arguments, environment))
        fail("posix_spawn");
    close(ends[1]);
    while (read(ends[0], output, sizeof output) > 0)
        ;
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid || status)
        fail("waitpid");
    posix_spawn_file_actions_destroy(&actions);
}

static void *run_on(void *runs)
{
    for (; now() < until; ++*(long *)runs)
        run_once();
    return NULL;
}

int main(int count, char **words)
{
    pthread_t threads[THREADS];
    long runs[THREADS] = {0}, total = 0;
    int wanted = count == 4 ? atoi(words[2]) : 0;

    if (wanted < 1 || wanted > THREADS) {
        fprintf(stderr, "usage: spawn PROGRAM THREADS(1-%d) SECONDS\n", THREADS);
        return 2;
    }
    program = words[1];
    double started = now();
    until = started + atof(words[3]);
    for (int i = 0; i < wanted; i++)
        if (pthread_create(&threads[i], NULL, run_on, &runs[i]))
            fail("pthread_create");
    for (int i = 0; i < wanted; i++) {
        pthread_join(threads[i], NULL);
        total += runs[i];
    }
    printf("%.1f\n", total / (now() - started));
    return 0;
}
