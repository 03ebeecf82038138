#pragma once

#include "base/result.h"
#include "base/time.h"
#include "directory/directory.h"
#include "slurm/rules.h"

namespace roster::clusters {

/// Everybody of an organization as the accounting rules of one of its clusters see them: the locked
/// and the deleted too, whose jobs may still run. People are read page by page, each as new as its
/// page; who is locked by any of the readings is locked.
///
/// `ready` (ClusterSettings::await_nodes): every living node of the cluster with role controller or
/// dbd has published the person's last change, and its view shows them. While no such node has
/// joined, nobody is.
Result<slurm::Facts> read_facts(directory::Directory& directory, const directory::Org& org,
                                const directory::Cluster& cluster, Timestamp now);

}  // namespace roster::clusters
