/* The reference page of all object types, as Markdown, from the tables of the registry. */
#pragma once

#include <stdio.h>

void reference_print(FILE *out);
/* The same of the expression language: grammar, operators, variables, functions, constants. */
void reference_print_expressions(FILE *out);
