// Publishes a node cache as told on stdin, for tests that are scripts. One command a line:
//   user N NAME UID GROUPS    GROUPS: numbers with commas, or -
//   lock|unlock N, until N SECONDS, key N LINE..., gone N
//   group N NAME GID PARENTS
//   mask NAME, deny NAME, unmask, stale SECONDS, contact SECONDS
//   publish                   answers "generation G" on stdout
// Usage: nss_story DIRECTORY

#include <iostream>
#include <map>
#include <sstream>

#include "nsscache/publisher.h"

namespace {

using namespace roster;

std::vector<std::uint64_t> numbers(const std::string& text) {
  std::vector<std::uint64_t> out;
  if (text == "-") return out;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) out.push_back(std::stoull(item));
  return out;
}

void must(const Result<void>& result) {
  if (result) return;
  std::cerr << "nss_story: " << result.error().message << "\n";
  std::exit(1);
}

class Story {
 public:
  explicit Story(nsscache::Publisher publisher) : publisher_(std::move(publisher)) {
    publisher_.set_local_rules(rules_);
  }

  void tell(std::istringstream& line) {
    std::string command;
    line >> command;
    ++seq_;
    if (command == "publish") return publish();
    if (command == "user") return user(line);
    if (command == "group") return group(line);
    if (command == "mask" || command == "deny" || command == "unmask") return rules(command, line);
    std::uint64_t number = 0;
    line >> number;
    if (command == "stale") return publisher_.set_max_stale(std::chrono::seconds(number));
    if (command == "contact") {
      return publisher_.touch_contact(from_millis(static_cast<std::int64_t>(number) * 1000));
    }
    if (command == "gone") return must(publisher_.remove_user(number, Seq{seq_}));
    posix::NodeUser& known = users_.at(number);
    known.seq = Seq{seq_};
    if (command == "lock") known.locked = true;
    if (command == "unlock") known.locked = false;
    if (command == "until") line >> known.valid_until;
    if (command == "key") {
      std::string text;
      std::getline(line >> std::ws, text);
      known.keys.push_back({.line = text, .fingerprint = "SHA256:" + std::to_string(seq_)});
    }
    must(publisher_.upsert_user(known));
  }

 private:
  void publish() {
    auto stats = publisher_.publish(std::to_string(seq_), "story", system_now());
    if (!stats) {
      std::cerr << "nss_story: " << stats.error().message << "\n";
      std::exit(1);
    }
    std::cout << "generation " << publisher_.generation() << std::endl;
  }

  void user(std::istringstream& line) {
    std::uint64_t n = 0;
    std::string name;
    std::uint32_t uid = 0;
    std::string groups;
    line >> n >> name >> uid >> groups;
    posix::NodeUser known{.n = n,
                          .seq = Seq{seq_},
                          .name = posix::LoginName::parse(name).value(),
                          .uid = uid,
                          .gid = uid,
                          .gecos = "User " + name,
                          .home = "/home/" + name,
                          .shell = "/bin/sh",
                          .groups = numbers(groups),
                          .keys = {}};
    must(publisher_.upsert_user(known));
    users_.insert_or_assign(n, std::move(known));
  }

  void group(std::istringstream& line) {
    std::uint64_t n = 0;
    std::string name;
    std::uint32_t gid = 0;
    std::string parents;
    line >> n >> name >> gid >> parents;
    must(publisher_.upsert_group({.n = n,
                                  .seq = Seq{seq_},
                                  .name = posix::GroupName::parse(name).value(),
                                  .gid = gid,
                                  .parents = numbers(parents)}));
  }

  void rules(const std::string& command, std::istringstream& line) {
    std::string name;
    line >> name;
    if (command == "mask") rules_.masked_names.push_back(name);
    if (command == "deny") rules_.denied_names.push_back(name);
    if (command == "unmask") rules_ = {};
    publisher_.set_local_rules(rules_);
  }

  nsscache::Publisher publisher_;
  nsscache::LocalRules rules_;
  std::map<std::uint64_t, posix::NodeUser> users_;
  std::uint64_t seq_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  nsscache::PublisherOptions options;
  options.directory = argv[1];
  options.org = "acme";
  options.view = "default";
  auto publisher = nsscache::Publisher::open(options, system_now());
  if (!publisher) {
    std::cerr << "nss_story: " << publisher.error().message << "\n";
    return 1;
  }
  Story story(std::move(*publisher));
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    story.tell(line);
  }
}
