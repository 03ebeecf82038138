#pragma once

#include <string>
#include <unordered_set>

#include "base/json.h"
#include "directory/types.h"
#include "provider/request.h"

namespace roster::provider {

/// Whether the person may log in now: a User, UserOutline, or Reference to one.
template <typename Person>
bool may_log_in(const Person& person, Timestamp now) {
  return person.active && (!person.valid_until || now < *person.valid_until);
}
/// Takes those who may not log in out of the members.
void leave_active(directory::Group& group, Timestamp now);

/// The whole resource in schema case, before the client's choice of attributes. What was not loaded
/// is absent. To a reader, somebody who may not log in has no keys and a shell that ends at once.
/// What is stored is moved out of the resource's document.
json::object render(const Call& call, directory::User&& user);
json::object render(const Call& call, directory::Group&& group);

/// One element of `members`.
json::object render_member(const Call& call, const directory::Reference& member);

}  // namespace roster::provider
