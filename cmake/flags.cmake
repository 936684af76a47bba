# Compiler and linker flags of every target: warnings are errors; release builds are hardened.
add_library(ringmx_flags INTERFACE)
target_include_directories(ringmx_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(ringmx_flags INTERFACE _GNU_SOURCE RINGMX_VERSION="${PROJECT_VERSION}")
target_compile_options(ringmx_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -fno-strict-aliasing -fno-common)

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_link_options(-pie)

if(RINGMX_SANITIZE)
  target_compile_options(ringmx_flags INTERFACE -fsanitize=${RINGMX_SANITIZE} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all -g)
  target_link_options(ringmx_flags INTERFACE -fsanitize=${RINGMX_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_options(ringmx_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
                                                -fstack-protector-strong -fstack-clash-protection
                                                -fcf-protection -g)
  target_link_options(ringmx_flags INTERFACE -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
endif()

if(RINGMX_FUZZ)
  # Coverage for the libraries; clang warns of other things than gcc, and the gcc builds are the judge.
  target_compile_options(ringmx_flags INTERFACE -fsanitize=fuzzer-no-link -Wno-error)
endif()

if(RINGMX_COVERAGE)
  target_compile_options(ringmx_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(ringmx_flags INTERFACE --coverage)
endif()
