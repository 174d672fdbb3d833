/* One request, one answer, on a connection that is then closed. */
#include "broker_helper.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* False where the connection broke off; reading tells whether there is an answer nevertheless. */
static bool send_request(const struct settings *settings, int connection, const struct request *request)
{
    for (size_t sent = 0; sent < request->length;) {
        ssize_t count = send(connection, request->bytes + sent, request->length - sent, 0);
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EPIPE || errno == ECONNRESET)
            return false;
        else if (errno != EINTR && errno != EAGAIN)
            fail(EX_UNAVAILABLE, "%s: %s; see: broker status", settings->socket, strerror(errno));
        remaining_ms(settings, "the daemon does not read");
    }
    return true;
}

/* 0 at the end: a connection that breaks off, which `*whole` tells, counts as one that ends. */
static size_t receive(const struct settings *settings, int connection, char *into, size_t room, bool *whole)
{
    for (;;) {
        wait_for(settings, connection, POLLIN, "the daemon has not answered");
        ssize_t count = recv(connection, into, room, 0);
        if (count >= 0)
            return (size_t)count;
        if (errno == ECONNRESET) {
            *whole = false;
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN)
            fail(EX_UNAVAILABLE, "%s: %s; see: broker status", settings->socket, strerror(errno));
    }
}

static bool read_answer(const struct settings *settings, int connection, struct answer *answer)
{
    static char buffer[ANSWER_MAX + 1];
    size_t have = 0, head = 0, need = ANSWER_MAX;
    while (have < need) {
        size_t count = receive(settings, connection, buffer + have, need - have, &answer->heard);
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
    struct request request;
    write_request(&request, settings);
    answer->heard = send_request(settings, connection, &request);
    bool answered = read_answer(settings, connection, answer);
    close(connection);
    return answered;
}
