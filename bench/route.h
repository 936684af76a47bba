/* `ringmx-bench route`: what a decision of the route program costs on one core. */
#pragma once

int route_command(int argc, char **argv);
