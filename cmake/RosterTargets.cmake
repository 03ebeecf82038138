# One helper per kind of target; sources are always named one by one.
# Tests are not part of the default build: `unit_tests`, `integration_tests`, `fuzzers`, `benchmarks`.
add_custom_target(unit_tests)
add_custom_target(integration_tests)
add_custom_target(fuzzers)
add_custom_target(benchmarks)
find_package(GTest REQUIRED)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# roster_library(ROOM SOURCES a.cc ... [DEPS roster::base ...] [TESTS a_test.cc ...] [TEST_DEPS ...])
# makes the library roster_ROOM (alias roster::ROOM) and, when there are tests, the program
# roster_ROOM_test, registered with ctest under the name "unit.ROOM".
function(roster_library room)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  add_library(roster_${room} STATIC ${ARG_SOURCES})
  add_library(roster::${room} ALIAS roster_${room})
  target_link_libraries(roster_${room} PUBLIC roster_options ${ARG_DEPS})
  if(ARG_TESTS)
    add_executable(roster_${room}_test EXCLUDE_FROM_ALL ${ARG_TESTS})
    add_dependencies(unit_tests roster_${room}_test)
    target_link_libraries(roster_${room}_test PRIVATE roster_${room} ${ARG_TEST_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
    set_target_properties(roster_${room}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME unit.${room} COMMAND roster_${room}_test)
    set_tests_properties(unit.${room} PROPERTIES LABELS unit TIMEOUT 600)
  endif()
endfunction()

# roster_program(NAME SOURCES main.cc ... DEPS roster::x ...)
function(roster_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE roster_options ${ARG_DEPS})
endfunction()

# roster_bench(NAME SOURCES x.cc ... DEPS roster::x ...): a Google Benchmark program.
function(roster_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  find_package(benchmark REQUIRED)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE roster_options ${ARG_DEPS} benchmark::benchmark)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  add_dependencies(benchmarks ${name})
endfunction()

# roster_script_test(NAME SCRIPT [ARGS ...] [TIMEOUT s]): a Python test against the built programs.
# Exit status 77 means skipped, with the reason on the last line.
function(roster_script_test name script)
  cmake_parse_arguments(ARG "" "TIMEOUT" "ARGS" ${ARGN})
  add_test(NAME ${name} COMMAND python3 -B ${script} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS integration TIMEOUT ${ARG_TIMEOUT}
    SKIP_RETURN_CODE 77 ENVIRONMENT "ROSTER_BUILD_DIR=${CMAKE_BINARY_DIR}")
endfunction()
