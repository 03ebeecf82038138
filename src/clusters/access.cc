#include "clusters/access.h"

#include <algorithm>

#include "base/text.h"

namespace roster::clusters {
namespace {

constexpr std::string_view kAny = "*";
constexpr std::string_view kOpenEnd = "**";

std::unexpected<Error> wrong(std::string_view line, std::string_view why) {
  return fail(Code::kInvalidArgument, "\"" + std::string(line) + "\": " + std::string(why) +
                                          R"(; a line is like "GET,POST /slurm/*/job/submit")");
}

bool is_method(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::vector<std::string> pieces(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (true) {
    const std::size_t end = text.find(separator);
    out.emplace_back(text.substr(0, end));
    if (end == text.npos) return out;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

Result<Access::Rule> Access::parse_line(std::string_view line) {
  Rule rule;
  std::string_view rest = line;
  if (rest.starts_with('!')) {
    rule.refuses = true;
    rest.remove_prefix(1);
  }
  const std::size_t space = rest.find(' ');
  if (space == rest.npos) return wrong(line, "no path");
  const std::string_view methods = rest.substr(0, space);
  if (methods != kAny) {
    rule.methods = pieces(methods, ',');
    if (!std::ranges::all_of(rule.methods, is_method)) return wrong(line, "methods in capitals");
    if (std::ranges::find(rule.methods, "HEAD") != rule.methods.end()) {
      return wrong(line, "GET stands for HEAD, too");
    }
  }
  std::string_view path = rest.substr(space + 1);
  if (!path.starts_with('/')) return wrong(line, "the path begins with /");
  path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  rule.segments = pieces(path, '/');
  if (rule.segments.back() == kOpenEnd) {
    rule.open_end = true;
    rule.segments.pop_back();
  }
  for (const std::string& segment : rule.segments) {
    if (segment.empty()) return wrong(line, "an empty segment");
    if (segment != kAny && segment.contains('*')) {
      return wrong(line, "'*' is a whole segment, and '**' the last one");
    }
  }
  return rule;
}

Result<Access> Access::parse(const std::vector<std::string>& lines) {
  Access access;
  for (const std::string& line : lines) {
    ASSIGN_OR_RETURN(Rule rule, parse_line(line));
    access.rules_.push_back(std::move(rule));
  }
  return access;
}

bool Access::matches(const Rule& rule, std::string_view method,
                     const std::vector<std::string>& segments) {
  if (!rule.methods.empty() && std::ranges::find(rule.methods, method) == rule.methods.end()) {
    return false;
  }
  const std::size_t fixed = rule.segments.size();
  if (segments.size() < fixed || (segments.size() > fixed && !rule.open_end)) return false;
  for (std::size_t at = 0; at < fixed; ++at) {
    if (rule.segments[at] != kAny && rule.segments[at] != segments[at]) return false;
  }
  return true;
}

bool Access::allows(std::string_view method, const std::vector<std::string>& segments) const {
  const std::string_view as = method == "HEAD" ? "GET" : method;
  bool allowed = false;
  for (const Rule& rule : rules_) {
    if (!matches(rule, as, segments)) continue;
    if (rule.refuses) return false;
    allowed = true;
  }
  return allowed;
}

// Named one by one: slurmrestd has GETs that change something (reconfigure; requeue from 26.05 on).
const std::vector<std::string>& default_read_access() {
  static const std::vector<std::string> kLines = [] {
    std::vector<std::string> lines = {"GET /openapi/**", "GET /slurmdb/**"};
    for (const char* readable :
         {"ping", "diag", "jobs", "jobs/state", "job/*", "nodes", "node/*", "partitions",
          "partition/*", "reservations", "reservation/*", "licenses", "shares", "resources/*"}) {
      lines.push_back("GET /slurm/*/" + std::string(readable));
    }
    return lines;
  }();
  return kLines;
}

const std::vector<std::string>& default_user_access() {
  static const std::vector<std::string> kLines = [] {
    std::vector<std::string> lines = default_read_access();
    for (const char* line : {"POST /slurm/*/job/**", "DELETE /slurm/*/job/**",
                             "DELETE /slurm/*/jobs/**", "GET /slurm/*/job/*/requeue/**"}) {
      lines.emplace_back(line);
    }
    return lines;
  }();
  return kLines;
}

}  // namespace roster::clusters
