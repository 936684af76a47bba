#include "admin/config.h"

#include <stdarg.h>
#include <stdio.h>

void config_problem_set(struct config_problem *problem, const char *format, ...)
{
    va_list args;
    problem->object[0] = problem->property[0] = '\0';
    problem->ids[0] = problem->ids[1] = 0;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}

void config_problem_at(struct config_problem *problem, struct slice object, const char *property)
{
    snprintf(problem->object, sizeof(problem->object), "%.*s", SLICE_ARGS(object));
    snprintf(problem->property, sizeof(problem->property), "%s", property);
}
