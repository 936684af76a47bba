/* The reference page of all object types, as Markdown, from the tables of the registry. */
#pragma once

#include <stdio.h>

void reference_print(FILE *out);
