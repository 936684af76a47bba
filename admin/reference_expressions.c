/* The page about expressions, from the tables of the language. */
#include "admin/reference.h"

#include "core/key_table.h"
#include "route/expr_tables.h"

#include <string.h>

static void print_grammar(FILE *out)
{
    fprintf(
        out,
        "# Expressions\n\n"
        "An expression setting is a block: `{\"match\": {\"0\": {\"if\": \"...\", \"then\": "
        "\"...\"}, \"1\": {...}}, \"else\": \"...\"}`. The branches are tried in order; the first "
        "whose `if` is true gives its `then`, otherwise `else`. All texts are expressions:\n\n"
        "```\n"
        "expression = operand { operator operand }\n"
        "operand    = [ \"!\" | \"-\" ] ( value | \"(\" expression \")\" ) { \"[\" expression "
        "\"]\" }\n"
        "value      = string | number | duration | \"true\" | \"false\" | variable | constant\n"
        "           | function \"(\" [ expression { \",\" expression } ] \")\"\n"
        "           | \"[\" [ expression { \",\" expression } ] \"]\" | \"$\" digits\n"
        "string     = \"'\" characters \"'\" | '\"' characters '\"'\n"
        "number     = digits [ \".\" digits ]\n"
        "duration   = digits ( \"d\" | \"h\" | \"m\" | \"s\" | \"ms\" )\n"
        "```\n\n"
        "A backslash in a string keeps its meaning for regular expressions: `'\\.'` is two "
        "characters. A duration is a whole number of milliseconds. `$0` is what the last "
        "`matches()` found, `$1` its first group. `x[n]` is item n of an array (0 is the first), "
        "`''` outside of it. A list in brackets has at most %d values, %d when some are not known "
        "at "
        "load; an expression has at most %d bytes with all its branches, of which there are at "
        "most %d.\n\n"
        "Everything is checked when a configuration is loaded: names, numbers of arguments, "
        "regular expressions, lists, statistics, and all that does not depend on a message. What "
        "can only fail later (too much memory, too many steps: %d, no answer) defers the mail with "
        "451 or in the "
        "queue; it never chooses something else.\n",
        EXPR_ARRAY_MAX, EXPR_ARGS_MAX, EXPR_SOURCE_MAX, EXPR_BRANCHES_MAX, EXPR_STEPS_MAX);
}

static void print_operators(FILE *out)
{
    const struct expr_binary *row;
    fprintf(out, "\n## Operators\n\nThe strongest first: `!` and `-` before an operand, then by "
                 "level; of one level from left to right.\n\n"
                 "| Level | Operator | Meaning |\n|---|---|---|\n");
    for (unsigned level = EXPR_LEVELS; level-- > 0;) {
        for (uint32_t i = 0; (row = expr_binary_row(i)) != NULL; i++) {
            if (row->level != level) {
                continue;
            }
            fprintf(out, "| %u | ", EXPR_LEVELS - level);
            for (const char *spelling = row->text; spelling != NULL;
                 spelling = spelling == row->text ? row->also : NULL) {
                fprintf(out, "%s`", spelling == row->text ? "" : " ");
                for (const char *c = spelling; *c != '\0'; c++) {
                    fprintf(out, *c == '|' ? "\\%c" : "%c", *c);
                }
                fprintf(out, "`");
            }
            fprintf(out, " | %s |\n", row->description);
        }
    }
    fprintf(out,
            "\n**Types** are string, integer (64 bits, saturating), float, array and constant. "
            "Truth: `''`, `0`, `0.0` and `[]` are false, all else is true; comparisons and logical "
            "operators yield 1 or 0. A string beside a number is read as a number, 0 when it is "
            "none. An array beside anything else is neither less nor equal nor greater.\n");
}

static const char *type_name(enum expr_type type)
{
    static const char *const names[] = {"string", "integer", "float", "array", "constant"};
    return names[type];
}

static void print_variables(FILE *out)
{
    const struct expr_variable *row;
    fprintf(out, "\n## Variables\n\nWhich there are depends on the setting; the reference of the "
                 "objects says its context.\n");
    for (unsigned context = 0; context < EXPR_CONTEXTS; context++) {
        const struct expr_context_row *about = expr_context_row((enum expr_context)context);
        fprintf(out, "\n`%s` (%s):", about->name, about->description);
        bool any = false;
        for (uint16_t i = 0; (row = expr_variable_row(i)) != NULL; i++) {
            if ((row->contexts & 1u << context) != 0 && row->absent == NULL) {
                fprintf(out, " `%s`", row->name);
                any = true;
            }
        }
        fprintf(out, any ? "\n" : " none\n");
    }
    fprintf(out, "\n| Variable | Type | Meaning |\n|---|---|---|\n");
    for (uint16_t i = 0; (row = expr_variable_row(i)) != NULL; i++) {
        fprintf(out, "| `%s` | %s | %s%s%s |\n", row->name, type_name(row->type), row->description,
                row->absent ? "; **not in this version**: " : "", row->absent ? row->absent : "");
    }
}

static void print_call(FILE *out, const struct expr_function *row)
{
    fprintf(out, "%s(", row->name);
    for (const char *c = row->params; *c != '\0'; c++) {
        fprintf(out, *c == ' ' ? ", " : "%c", *c);
    }
    fprintf(out, ")");
}

static void print_functions(FILE *out)
{
    const struct expr_function *row;
    fprintf(out, "\n## Functions\n\nLetters and case are those of ASCII. Where an array is "
                 "expected, anything else counts as an array of one.\n\n"
                 "| Function | Meaning |\n|---|---|\n");
    for (uint32_t i = 0; (row = expr_function_row(i)) != NULL; i++) {
        fprintf(out, "| `");
        print_call(out, row);
        fprintf(out, "` | %s", row->description);
        if (row->words != NULL && strchr(row->words, '.') == NULL) {
            fprintf(out, " (the last argument, in quotes: %s)", row->words);
        }
        if (row->absent != NULL) {
            fprintf(out, "**not in this version**: %s", row->absent);
        }
        fprintf(out, " |\n");
    }
}

static void print_stores(FILE *out)
{
    fprintf(
        out,
        "\n## Lists, keys and counters\n\n"
        "The first argument of `key_get` and `key_exists` names a list (objects "
        "`MemoryLookupKey` and `MemoryLookupKeyValue` with this `namespace`), or the store "
        "`'*'`. A list is looked at at once, and is there in every setting.\n\n"
        "`'*'` is one store for all cores, which expressions fill: keys with values, and "
        "counters, which have names of their own. It is in memory, begins empty with every "
        "start, and has room for %d keys and counters of each core (and %d MiB): in a full one "
        "what was used longest ago gives way (`expression_keys_forgotten_total`), and what was "
        "not used for %d hours is gone. A key has at most %d bytes, a text %d. Longer ones, an "
        "array, a counter that is to grow by no whole number: the evaluation fails, and with it "
        "what it decides, for now (451).\n\n"
        "A call that changes something does it once for a command of a session, however often "
        "and in however many settings it is evaluated for it, and calls that are the same "
        "(function, key, value) are one; `route` does so at RCPT and once in every attempt at a "
        "message. `schedule`, `connection` and `tls` can look, not change. Explaining changes "
        "nothing.\n",
        KEY_TABLE_KEYS_MAX, KEY_TABLE_BYTES_MAX >> 20, KEY_KEPT_HOURS, KEY_NAME_MAX, KEY_TEXT_MAX);
}

static void print_metrics(FILE *out)
{
    const struct expr_metric_row *row;
    fprintf(out,
            "\n## Statistics\n\nFor `metric()`: of all cores together, collected a few times a "
            "second; in the first moment of a start it fails. Counters begin with the "
            "process.\n\n"
            "| Name | Meaning |\n|---|---|\n");
    for (unsigned i = 0; (row = expr_metric_row(i)) != NULL; i++) {
        fprintf(out, "| `%s` | %s |\n", row->name, row->description);
    }
}

static void print_constants(FILE *out)
{
    const struct expr_constant_row *row;
    fprintf(out, "\n## Constants\n\nWords without quotes, for settings that take one.\n\n"
                 "| Constants | Meaning |\n|---|---|\n");
    for (uint32_t i = 0; (row = expr_constant_row(i)) != NULL; i++) {
        fprintf(out, "| `%s` | %s |\n", row->names, row->description);
    }
}

void reference_print_expressions(FILE *out)
{
    print_grammar(out);
    print_operators(out);
    print_variables(out);
    print_functions(out);
    print_stores(out);
    print_metrics(out);
    print_constants(out);
}
