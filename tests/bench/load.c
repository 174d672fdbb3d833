/* Asks a server on a Unix socket over and over, each time on a new connection, and prints the seconds it took.

     load SOCKET CONNECTIONS REQUESTS MUST-CONTAIN REQUEST...

   CONNECTIONS threads share REQUESTS asks; the given requests take turns. Every answer must be a 200 that contains
   MUST-CONTAIN, or the run fails. In C, so that on two cores the server is what is measured and not the client. */
#define _GNU_SOURCE /* memmem */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 * 1024, CONNECTIONS_MAX = 1024 };

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static const char *must_contain;
static char **requests;
static long request_count, asks;
static atomic_long next_ask;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "load: %s: %s\n", what, detail);
    exit(1);
}

static size_t read_all(int connection, char *answer)
{
    size_t have = 0;
    ssize_t count;
    while (have < ANSWER_MAX && (count = recv(connection, answer + have, ANSWER_MAX - have, 0)) > 0)
        have += (size_t)count;
    return have;
}

static void ask(const char *request, char *answer)
{
    static const char ok[] = "HTTP/1.1 200";
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (const struct sockaddr *)&address, sizeof address) != 0)
        fail("cannot connect to", address.sun_path);
    if (send(connection, request, strlen(request), MSG_NOSIGNAL) < 0)
        fail("cannot send to", address.sun_path);
    size_t length = read_all(connection, answer);
    close(connection);
    answer[length] = '\0';
    if (strncmp(answer, ok, sizeof ok - 1) != 0 || memmem(answer, length, must_contain, strlen(must_contain)) == NULL)
        fail("not the answer that was expected", answer);
}

static void *work(void *unused)
{
    char *answer = malloc(ANSWER_MAX + 1);
    for (long number; (number = atomic_fetch_add(&next_ask, 1)) < asks;)
        ask(requests[number % request_count], answer);
    free(answer);
    return unused;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 6 || strlen(argv[1]) >= sizeof address.sun_path)
        fail("usage", "load SOCKET CONNECTIONS REQUESTS MUST-CONTAIN REQUEST...");
    strcpy(address.sun_path, argv[1]);
    int connections = atoi(argv[2]);
    asks = atol(argv[3]);
    must_contain = argv[4];
    requests = argv + 5;
    request_count = argc - 5;
    if (connections < 1 || connections > CONNECTIONS_MAX)
        fail("not a number of connections", argv[2]);
    pthread_t threads[CONNECTIONS_MAX];
    double start = seconds();
    for (int i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            fail("cannot start a thread", argv[2]);
    for (int i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    printf("%.6f\n", seconds() - start);
    return 0;
}
