// jemalloc in the place of glibc's allocator, which keeps for each thread what that thread once
// needed: a listing of 100,000 members leaves 60 MB in each worker that ever made one.

/// jemalloc(3), TUNING: read when the first byte is asked for. What was freed goes back to the
/// system within a second, also while nothing happens.
extern "C" {
extern const char* const malloc_conf;
const char* const malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
}
