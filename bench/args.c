#include "bench/args.h"

#include "core/text.h"

#include <string.h>

void args_init(struct args *args, int argc, char **argv)
{
    *args = (struct args){.argc = argc, .argv = argv, .at = 1};
}

bool args_next(struct args *args)
{
    if (!args->failed && args->value != NULL && !args->read) {
        fprintf(stderr, "ringmx-bench: %s takes no value\n", args->name);
        args->failed = true;
    }
    args->value = NULL;
    args->read = false;
    if (args->failed || args->at >= args->argc) {
        return false;
    }
    char *name = args->argv[args->at++];
    char *equals = strchr(name, '=');
    args->name = name;
    if (equals != NULL) {
        *equals = '\0';
        args->value = equals + 1;
    }
    return true;
}

bool args_is(const struct args *args, const char *name)
{
    return strcmp(args->name, name) == 0;
}

const char *args_text(struct args *args)
{
    args->read = true;
    if (args->value == NULL && args->at < args->argc) {
        args->value = args->argv[args->at++];
    }
    if (args->value == NULL) {
        fprintf(stderr, "ringmx-bench: %s needs a value\n", args->name);
        args->failed = true;
        return "";
    }
    return args->value;
}

uint64_t args_number(struct args *args, uint64_t min, uint64_t max)
{
    uint64_t value = min;
    const char *text = args_text(args);
    if (!args->failed &&
        (text_to_u64(&value, slice_of_text(text)) != MX_OK || value < min || value > max)) {
        fprintf(stderr, "ringmx-bench: %s: '%s' is not a number from %llu to %llu\n", args->name,
                text, (unsigned long long)min, (unsigned long long)max);
        args->failed = true;
    }
    return value;
}

struct netaddr args_address(struct args *args)
{
    struct netaddr addr = {0};
    const char *text = args_text(args);
    if (!args->failed && netaddr_parse_port(&addr, slice_of_text(text)) != MX_OK) {
        fprintf(stderr, "ringmx-bench: %s: '%s' is not ADDRESS:PORT\n", args->name, text);
        args->failed = true;
    }
    return addr;
}

bool args_loopback(const struct netaddr *addr)
{
    static const uint8_t six[16] = {[15] = 1};
    return addr->family == 4 ? addr->bytes[0] == 127 : memcmp(addr->bytes, six, sizeof six) == 0;
}

void args_unknown(struct args *args)
{
    fprintf(stderr, "ringmx-bench: unknown option %s\n", args->name);
    args->failed = true;
}
