# Compiler settings shared by every target, as one interface library.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/archive)
# The release is optimized and keeps assertions of the standard library; NDEBUG is never set.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(ROSTER_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
# Optimizing instrumented code takes three times as long to compile as it saves in the tests.
set(debug_flags "-O1 -g1 -fno-omit-frame-pointer")
if(ROSTER_SANITIZE)
  set(debug_flags "-O0 -g1 -fno-omit-frame-pointer")
endif()
set(CMAKE_CXX_FLAGS_DEBUG "${debug_flags}")
set(CMAKE_C_FLAGS_DEBUG "${debug_flags}")
option(ROSTER_FUZZ "Build the libFuzzer targets in fuzz/" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_link_options(-fuse-ld=mold)
endif()

add_library(roster_warnings INTERFACE)
target_compile_options(roster_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)

# What every process of ours links, except the parts that live inside other programs (libc only).
add_library(roster_hardening INTERFACE)
target_compile_options(roster_hardening INTERFACE -fstack-protector-strong -fstack-clash-protection)
target_link_options(roster_hardening INTERFACE -Wl,-z,relro,-z,now)
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_options(roster_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()

add_library(roster_options INTERFACE)
target_link_libraries(roster_options INTERFACE roster_warnings roster_hardening)
target_compile_definitions(roster_options INTERFACE _GLIBCXX_ASSERTIONS)
target_include_directories(roster_options INTERFACE ${CMAKE_SOURCE_DIR}/src)

if(ROSTER_SANITIZE)
  add_compile_options(-fsanitize=${ROSTER_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ROSTER_SANITIZE})
endif()
if(ROSTER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
