#include "mirror/maps.h"

#include <string>

#include "posix/shell.h"

namespace roster::mirror {
namespace {

using nsscache::TextMap;

Result<void> write_passwd(const Roll& roll, TextMap& out) {
  std::string line;
  for (const Person& person : roll.people) {
    line.assign(person.name).append(":x:").append(std::to_string(person.uid)).append(":");
    line.append(std::to_string(person.gid)).append(":").append(person.gecos).append(":");
    line.append(person.home).append(":");
    line.append(person.active ? person.shell : posix::kNologinShell);
    RETURN_IF_ERROR(out.add(line, person.name, person.uid));
  }
  return {};
}

Result<void> write_group(const Roll& roll, TextMap& out) {
  std::string line;
  for (const Team& group : roll.groups) {
    line.assign(group.name).append(":x:").append(std::to_string(group.gid)).append(":");
    bool first = true;
    each_line(group.members, [&line, &first](std::string_view name) {
      if (!std::exchange(first, false)) line += ',';
      line += name;
    });
    RETURN_IF_ERROR(out.add(line, group.name, group.gid));
  }
  return {};
}

Result<void> write_shadow(const Settings& settings, const Roll& roll, TextMap& out) {
  constexpr std::size_t kExpire = 5;
  std::string fields;
  std::string locked_fields;
  for (std::size_t i = 0; i < settings.attributes.shadow.size(); ++i) {
    const std::string& value = settings.attributes.shadow[i];
    fields.append(":").append(value);
    // Day 1 of 1970: pam_unix refuses whoever has expired, with any kind of credential.
    locked_fields.append(":").append(i == kExpire ? "1" : value);
  }
  std::string line;
  for (const Person& person : roll.people) {
    line.assign(person.name).append(":*").append(person.active ? fields : locked_fields);
    RETURN_IF_ERROR(out.add(line, person.name, 0));
  }
  return {};
}

Result<void> write_keys(const Settings& settings, const Roll& roll, TextMap& out) {
  std::string line;
  for (const Person& person : roll.people) {
    line.assign(person.name).append(":");
    const std::string_view keys = person.active ? person.keys : std::string_view();
    if (keys.empty() || settings.key_form == KeyForm::kPythonList) {
      bool first = true;
      each_line(keys, [&line, &first](std::string_view key) {
        line.append(std::exchange(first, false) ? "[" : ", ");
        nsscache::append_python_repr(line, key);
      });
      if (!first) line += ']';
      RETURN_IF_ERROR(out.add(line, person.name, 0));
      continue;
    }
    Result<void> added;
    each_line(keys, [&](std::string_view key) {
      line.resize(person.name.size() + 1);
      line.append(key);
      if (added) added = out.add(line, person.name, 0);
    });
    RETURN_IF_ERROR(added);
  }
  return {};
}

}  // namespace

Result<void> write_map(const Settings& settings, const Roll& roll, Map map, TextMap& out) {
  out.reserve(map == Map::kGroup ? roll.groups.size() : roll.people.size());
  Result<void> written;
  switch (map) {
    case Map::kPasswd:
      written = write_passwd(roll, out);
      break;
    case Map::kGroup:
      written = write_group(roll, out);
      break;
    case Map::kShadow:
      written = write_shadow(settings, roll, out);
      break;
    case Map::kSshKey:
      written = write_keys(settings, roll, out);
      break;
  }
  RETURN_IF_ERROR(written);
  return out.flush();
}

}  // namespace roster::mirror
