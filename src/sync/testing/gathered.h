#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sync/source.h"

namespace roster::sync::testing {

/// What a source told, to be looked at. Checks that groups came before people.
struct Gathered {
  std::map<std::string, reconcile::Group> groups;
  std::map<std::string, reconcile::Person> people;
  std::map<std::string, std::string> kept;  // key and sentence
  std::map<std::string, std::string> kept_groups;
  std::string hidden;  // what hides who is locked; empty: nothing
  std::vector<reconcile::Problem> warnings;

  Intake intake() {
    return {
        .group =
            [this](reconcile::Group group) {
              CHECK(people.empty() && kept.empty());
              const std::string key = group.key;
              CHECK(groups.emplace(key, std::move(group)).second);
            },
        .person =
            [this](reconcile::Person person) {
              const std::string key = person.key;
              CHECK(people.emplace(key, std::move(person)).second);
            },
        .keep =
            [this](std::string key, reconcile::Problem why) {
              CHECK(kept.emplace(std::move(key), why.subject + ": " + why.sentence).second);
            },
        .keep_group =
            [this](std::string key, reconcile::Problem why) {
              CHECK(kept_groups.emplace(std::move(key), why.subject + ": " + why.sentence).second);
            },
        .hide_locks =
            [this](reconcile::Problem why) { hidden = why.subject + ": " + why.sentence; },
        .warn = [this](reconcile::Problem problem) { warnings.push_back(std::move(problem)); }};
  }

  /// All warnings as one text.
  std::string said() const {
    std::string text;
    for (const auto& problem : warnings) text += problem.subject + ": " + problem.sentence + "\n";
    return text;
  }
};

}  // namespace roster::sync::testing
