#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::clusters {

/// What may be asked of slurmrestd. A line is methods and a path of slurmrestd's, without the
/// cluster: "GET,POST /slurm/*/job/submit". "*" for the methods means all; GET allows HEAD. In the
/// path "*" stands for one segment, "**" at its end for any number. A line that begins with "!"
/// refuses what others allow; what no line allows is refused.
class Access {
 public:
  /// kInvalidArgument naming the line.
  static Result<Access> parse(const std::vector<std::string>& lines);
  bool allows(std::string_view method, const std::vector<std::string>& segments) const;

 private:
  struct Rule {
    bool refuses = false;
    std::vector<std::string> methods;  // empty: all
    std::vector<std::string> segments;
    bool open_end = false;
  };
  static Result<Rule> parse_line(std::string_view line);
  static bool matches(const Rule& rule, std::string_view method,
                      const std::vector<std::string>& segments);
  std::vector<Rule> rules_;
};

/// For people: what slurmctld shows them, and their own jobs. Of accounting they only read: in
/// Slurm 22.05 an operator becomes an administrator by a POST of a user.
const std::vector<std::string>& default_user_access();
/// For tokens of scope read: what only reads. Not every GET does.
const std::vector<std::string>& default_read_access();

}  // namespace roster::clusters
