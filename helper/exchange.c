/* One request, one answer, on a connection that is then closed. */
#include "broker_helper.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 2048, ENVIRONMENT_VALUE_MAX = 64, MARGIN_MS = 200 };

struct request {
    char bytes[REQUEST_MAX]; /* holds the longest: 3 x 256 of name, 3 x 64 of CLAUDECODE, three numbers */
    size_t length;
};

static void append(struct request *request, const char *text)
{
    size_t length = strlen(text);
    if (length >= REQUEST_MAX - request->length)
        fail(EX_SOFTWARE, "the request does not fit; this is a bug");
    memcpy(request->bytes + request->length, text, length + 1);
    request->length += length;
}

static void append_number(struct request *request, const char *label, long long number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", number);
    append(request, label);
    append(request, digits);
}

static void append_encoded(struct request *request, const char *text, size_t at_most)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < at_most && text[i] != '\0'; i++) {
        char escaped[4] = {text[i], '\0'};
        if (strchr(unreserved, text[i]) == NULL)
            snprintf(escaped, sizeof escaped, "%%%02X", (unsigned)(unsigned char)text[i]);
        append(request, escaped);
    }
}

/* What the daemon may take: a little less than we have, so that its own 504 arrives before we give up. */
static long long deadline_for_daemon(long long remaining)
{
    long long margin = remaining / 5 < MARGIN_MS ? remaining / 5 : MARGIN_MS;
    return remaining - margin;
}

static void write_request(struct request *request, const struct settings *settings)
{
    append(request, "GET /v1/token?");
    if (settings->credential != NULL) {
        append(request, "credential=");
        append_encoded(request, settings->credential, SIZE_MAX);
        append(request, "&");
    }
    append_number(request, "ttl_ms=", settings->ttl_ms);
    append_number(request, "&deadline_ms=", deadline_for_daemon(remaining_ms(settings, "no time is left to ask")));
    append(request, " HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n");
    const char *claude_code = getenv("CLAUDECODE"); /* Claude Code's tools and hooks have it, its helper has not */
    if (claude_code != NULL) {
        append(request, "X-Broker-Env: CLAUDECODE=");
        append_encoded(request, claude_code, ENVIRONMENT_VALUE_MAX);
        append(request, "\r\n");
    }
    append(request, "\r\n");
}

static void send_request(const struct settings *settings, int connection, const struct request *request)
{
    for (size_t sent = 0; sent < request->length;) {
        ssize_t count = send(connection, request->bytes + sent, request->length - sent, 0);
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EPIPE || errno == ECONNRESET)
            return; /* reading tells whether there is an answer nevertheless */
        else if (errno != EINTR && errno != EAGAIN)
            fail(EX_UNAVAILABLE, "%s: %s; see: broker status", settings->socket, strerror(errno));
        remaining_ms(settings, "the daemon does not read");
    }
}

/* 0 at the end: a connection that breaks off counts as one that ends. */
static size_t receive(const struct settings *settings, int connection, char *into, size_t room)
{
    for (;;) {
        wait_for(settings, connection, POLLIN, "the daemon has not answered");
        ssize_t count = recv(connection, into, room, 0);
        if (count >= 0)
            return (size_t)count;
        if (errno == ECONNRESET)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            fail(EX_UNAVAILABLE, "%s: %s; see: broker status", settings->socket, strerror(errno));
    }
}

static bool read_answer(const struct settings *settings, int connection, struct answer *answer)
{
    static char buffer[ANSWER_MAX + 1];
    size_t have = 0, head = 0, need = ANSWER_MAX;
    while (have < need) {
        size_t count = receive(settings, connection, buffer + have, need - have);
        if (count == 0)
            break;
        size_t seen_before = have;
        have += count;
        if (head == 0 && (head = head_length(buffer, have, seen_before)) != 0)
            need = head + parse_head(buffer, head, answer);
    }
    if (have == 0)
        return false;
    if (head == 0 || (answer->status == 200 && have < need))
        fail(EX_SOFTWARE, "the daemon's answer breaks off; see: broker status");
    answer->body = buffer + head;
    answer->length = (have < need ? have : need) - head;
    return true;
}

bool ask(const struct settings *settings, int connection, struct answer *answer)
{
    struct request request = {.length = 0};
    write_request(&request, settings);
    send_request(settings, connection, &request);
    bool answered = read_answer(settings, connection, answer);
    close(connection);
    return answered;
}
