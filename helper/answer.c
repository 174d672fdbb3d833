/* The strict reading of an HTTP answer: what listens on the socket may be broken or hostile. */
#include "broker_helper.h"

#include <string.h>
#include <strings.h>

enum { REASON_MAX = 500 };
static const size_t NO_LENGTH = (size_t)-1;

static _Noreturn void refuse(const char *why)
{
    fail(EX_SOFTWARE, "not an answer of the broker: %s; see: broker status", why);
}

/* Length of the head with its closing empty line, or 0 when that has not come yet. */
size_t head_length(const char *bytes, size_t have, size_t seen_before)
{
    for (size_t i = seen_before < 3 ? 0 : seen_before - 3; i + 4 <= have && i + 4 <= HEAD_MAX; i++)
        if (memcmp(bytes + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    if (have >= HEAD_MAX)
        refuse("its head has no end");
    return 0;
}

/* Control characters let one reader see other lines than the next, and NUL would cut ours short. */
static void check_characters(const char *head, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)head[i];
        bool line_end = (c == '\r' && i + 1 < length && head[i + 1] == '\n') || (c == '\n' && i > 0 && head[i - 1] == '\r');
        if ((c < ' ' && c != '\t' && !line_end) || c == 0x7f)
            refuse("control characters in its head");
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_status(const char *line)
{
    bool known = strncmp(line, "HTTP/1.", 7) == 0 && is_digit(line[7]) && line[8] == ' ' && is_digit(line[9])
        && is_digit(line[10]) && is_digit(line[11]) && (line[12] == ' ' || line[12] == '\r');
    if (!known)
        refuse("its first line is not HTTP/1");
    return (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
}

static size_t parse_length(const char *value)
{
    size_t length = 0;
    value += strspn(value, " \t");
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > 7 || strncmp(value + digits + strspn(value + digits, " \t"), "\r\n", 2) != 0)
        refuse("its Content-Length is not a number");
    for (size_t i = 0; i < digits; i++)
        length = length * 10 + (size_t)(value[i] - '0');
    return length;
}

static void parse_header(const char *line, size_t *length)
{
    size_t name = strcspn(line, ":\r \t");
    if (name == 0 || line[name] != ':')
        refuse("a header without a name");
    if (name == strlen("transfer-encoding") && strncasecmp(line, "transfer-encoding", name) == 0)
        refuse("it has a Transfer-Encoding");
    if (name != strlen("content-length") || strncasecmp(line, "content-length", name) != 0)
        return;
    if (*length != NO_LENGTH) /* two readers could take different ones */
        refuse("it has two lengths");
    *length = parse_length(line + name + 1);
}

/* Fills in the status and returns how many bytes of body to read. */
size_t parse_head(char *head, size_t length, struct answer *answer)
{
    check_characters(head, length);
    head[length - 2] = '\0'; /* over the empty line, so that string functions end here */
    answer->status = parse_status(head);
    size_t body = NO_LENGTH;
    for (const char *line = strstr(head, "\r\n") + 2; *line != '\0'; line = strstr(line, "\r\n") + 2)
        parse_header(line, &body);
    if (answer->status == 200 && (body == 0 || body > TOKEN_MAX))
        refuse(body == NO_LENGTH ? "a token without a Content-Length" : "a token that is empty or too long");
    return body < ANSWER_MAX - length ? body : ANSWER_MAX - length;
}

/* Claude Code takes one printable ASCII word; anything else would end up in a header of its requests. */
void check_token(const struct answer *answer)
{
    for (size_t i = 0; i < answer->length; i++)
        if (answer->body[i] <= ' ' || answer->body[i] > '~')
            refuse("a token that is not printable ASCII");
}

static int exit_code_of(int status)
{
    switch (status) {
    case 400:
        return EX_USAGE;
    case 401:
    case 403:
    case 423:
        return EX_NOPERM;
    case 404:
        return EX_CONFIG;
    case 503:
        return EX_UNAVAILABLE;
    case 504:
        return EX_TEMPFAIL;
    default:
        return EX_SOFTWARE;
    }
}

_Noreturn void fail_as_answered(const struct answer *answer)
{
    size_t length = 0;
    while (length < answer->length && length < REASON_MAX && !strchr("\r\n", answer->body[length]))
        length++;
    if (length == 0)
        fail(exit_code_of(answer->status), "the daemon answered %d without a reason; see: broker status", answer->status);
    fail(exit_code_of(answer->status), "%.*s", (int)length, answer->body);
}
