import { totalmem } from 'node:os'

const MIB = 1024 * 1024

/**
 * Memory that this process may use: the limit of its container (cgroup v1 or v2), which `totalmem` ignores. A limit of
 * 0 or above the memory of the machine means none.
 */
function readMemoryBytes (): number {
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}

/**
 * Settings of the embedded server, rewritten at each start. `ALTER SYSTEM` overrides them, so an operator can change
 * each one. The gateway warns of `fsync` or `full_page_writes` off, and sets `synchronous_commit` in each session.
 */
export function toSettings (memoryBytes = readMemoryBytes()): string {
  // An eighth of the memory: the gateway and the page cache need the rest. A gigabyte holds the states of a million
  // devices: with 256 MB PostgreSQL took a third more CPU for their readings, and pages waited for it.
  const sharedBuffersMiB = Math.min(1024, Math.max(64, Math.floor(memoryBytes / MIB / 8)))
  return `# Written by vital-gateway at each start. To change a setting, use ALTER SYSTEM.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''          # a socket's path ends at 107 bytes, and data directories may lie deeper
password_encryption = 'scram-sha-256'
max_connections = 100

fsync = on
full_page_writes = on
synchronous_commit = on

shared_buffers = ${sharedBuffersMiB}MB
max_wal_size = 2GB                    # checkpoints by time and not by volume: each rewrites the pages in full
min_wal_size = 256MB
checkpoint_timeout = 15min
max_slot_wal_keep_size = 16GB         # a backup that hangs must not fill the disk with the log that it holds
wal_buffers = 16MB
wal_compression = off                 # these binaries have pglz only, which costs more CPU than it saves
max_parallel_workers_per_gather = 0   # a page that has to be sorted must leave a core to the commits
jit = off                             # queries here are short, and these binaries have no LLVM
random_page_cost = 1.1                # solid state disks
timezone = 'UTC'
log_timezone = 'UTC'

# The server logs into files of its own: it outlives a gateway that was killed, and a pipe would not.
# One file for each weekday, overwritten a week later.
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_file_mode = 0600
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
# Values of readings must not get into logs: no DETAIL and CONTEXT lines, no statements.
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
`
}

/** Connections are accepted over TCP from this machine, with the password. */
export const HOST_RULES = `# Written by vital-gateway when the cluster was created.
host all all 127.0.0.1/32 scram-sha-256
`
