#include "admin/config.h"

#include "admin/arena.h"
#include "admin/config_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void config_problem_set(struct config_problem *problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}

mx_err config_load(struct config **out_config, const char *data_dir, struct config_problem *problem)
{
    struct store *store;
    problem->text[0] = 0;
    mx_err err = store_open(&store, data_dir, problem);
    if (err) {
        return err;
    }
    const struct reg_type *type;
    err = config_build(out_config, store, CONFIG_WHOLE, &type, problem);
    store_close(store);
    return err;
}
