/* The one request, in a buffer that holds the longest. */
#include "broker_helper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MARGIN_MS = 200 };

extern char **environ;

static void append_bytes(struct request *request, const char *bytes, size_t length)
{
    if (length > REQUEST_MAX - request->length)
        fail(EX_SOFTWARE, "the request does not fit; this is a bug");
    memcpy(request->bytes + request->length, bytes, length);
    request->length += length;
}

static void append(struct request *request, const char *text)
{
    append_bytes(request, text, strlen(text));
}

static void append_number(struct request *request, const char *label, long long number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", number);
    append(request, label);
    append(request, digits);
}

static bool is_plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-._~/", c));
}

static size_t encoded_length(const char *bytes, size_t length)
{
    size_t encoded = length;
    for (size_t i = 0; i < length; i++)
        if (!is_plain(bytes[i]))
            encoded += 2;
    return encoded;
}

static void append_encoded(struct request *request, const char *bytes, size_t length)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        char escaped[3] = {'%', digits[byte >> 4], digits[byte & 15]};
        if (is_plain(bytes[i]))
            append_bytes(request, bytes + i, 1);
        else
            append_bytes(request, escaped, sizeof escaped);
    }
}

/* What the daemon may take: a little less than we have, so that its own 504 arrives before we give up. */
static long long deadline_for_daemon(long long remaining)
{
    long long margin = remaining / 5 < MARGIN_MS ? remaining / 5 : MARGIN_MS;
    return remaining - margin;
}

/* Left out where it cannot be told: deleted, out of reach or too deep. */
static void append_folder(struct request *request)
{
    char folder[FOLDER_MAX + 1];
    if (getcwd(folder, sizeof folder) == NULL || folder[0] != '/')
        return;
    append(request, "X-Broker-Cwd: ");
    append_encoded(request, folder, strlen(folder));
    append(request, "\r\n");
}

/* The name alone says "set, value unknown": where the value is a secret, or there is no room for it. A variable that
   does not even fit by name must not be left out in silence: the one that steers could hide behind thousands. */
static void append_variable(struct request *request, const char *name, size_t name_length, size_t room)
{
    const char *value = name + name_length + 1;
    size_t value_length = strnlen(value, VALUE_MAX + 1);
    size_t needed = encoded_length(name, name_length);
    if (needed > room)
        fail(EX_NOPERM, "more than %d bytes of ANTHROPIC_*_URL and CLAUDE_CODE_* variables; unset some", VARIABLES_MAX);
    append_encoded(request, name, name_length);
    needed += 1 + encoded_length(value, value_length);
    if (holds_secret(name, name_length) || value_length > VALUE_MAX || needed > room)
        return;
    append(request, "=");
    append_encoded(request, value, value_length);
}

static void append_variables(struct request *request)
{
    append(request, "X-Broker-Env: ");
    size_t end = request->length + VARIABLES_MAX;
    bool first = true;
    for (char **entry = environ; *entry != NULL; entry++) {
        size_t name_length = strcspn(*entry, "=");
        if ((*entry)[name_length] != '=' || !steers(*entry, name_length))
            continue;
        if (!first && request->length < end)
            append(request, "&");
        first = false;
        append_variable(request, *entry, name_length, end - request->length);
    }
    append(request, "\r\n");
}

void write_request(struct request *request, const struct settings *settings)
{
    request->length = 0;
    append(request, settings->aws ? "GET /v1/aws?" : "GET /v1/token?");
    if (settings->credential != NULL) {
        append(request, "credential=");
        append_encoded(request, settings->credential, strlen(settings->credential));
        append(request, "&");
    }
    append_number(request, "ttl_ms=", settings->ttl_ms);
    append_number(request, "&deadline_ms=", deadline_for_daemon(remaining_ms(settings, "no time is left to ask")));
    append(request, " HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n");
    append_folder(request);
    append_variables(request);
    append(request, "\r\n");
}
