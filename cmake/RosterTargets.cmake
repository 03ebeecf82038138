# One helper per kind of target; sources are always named one by one.
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
    add_executable(roster_${room}_test ${ARG_TESTS})
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
