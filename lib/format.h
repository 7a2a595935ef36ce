/* SPDX-License-Identifier: MIT */
/*
 * The format on disk, version 1: every constant and every layout. All integers are little-endian, except tree ids used as
 * keys (big-endian, so that memcmp orders them). man/solifuge-format.5 tells the same in prose, with hex dumps.
 *
 * Position: spindle (8 bits) << 56 | offset in bytes (56 bits). 0 means none.
 * Digest: XXH3-64 unless said otherwise. "seeded" means: seed = first 8 bytes of the uuid, xor last 8, xor the position
 * of the structure, so that no structure is valid at another place or in another database.
 */
#ifndef FORMAT_H
#define FORMAT_H

#include "base.h"

#define FORMAT_VERSION 1
#define FORMAT_MAGIC "SOLIFUGE" /* 8 bytes */
#define COUNTER_MAX (UINT64_MAX / 2) /* of what is counted up: nothing in a file is greater, and sums do not wrap around */

/* ---- Space ------------------------------------------------------------------------------------------------------- */

#define EXTENT_BYTES (2 * MIB)
#define SPINDLES_MAX 255
#define OFFSET_BITS 56
#define OFFSET_MAX (((uint64_t)1 << OFFSET_BITS) - 1)
#define SEGMENT_BYTES ((uint64_t)1 << 40) /* a spindle is a row of files of this size; version 1 opens the first */

static inline uint64_t position_make(unsigned spindle, uint64_t offset)
{
	return (uint64_t)spindle << OFFSET_BITS | offset;
}
static inline unsigned position_spindle(uint64_t position) { return (unsigned)(position >> OFFSET_BITS); }
static inline uint64_t position_offset(uint64_t position) { return position & OFFSET_MAX; }

/* Extent 0 of every spindle holds the metadata; on spindle 0 the rest of it is the first log extent. */
#define META_PAGE_BYTES 4096
#define META_PAGE_A 0
#define META_PAGE_B (64 * KIB)
#define META_TABLE_A 4096             /* the spindle table, twice */
#define META_TABLE_B (68 * KIB)
#define META_TABLE_BYTES (60 * 1024)  /* room to the next page; the bytes in use are digested */
#define EXTENT_ZERO_DATA (128 * KIB)  /* first slab of a new database */
#define EXTENT_DATA 4096              /* first slab of a log extent; first bulk entry of a bulk extent (its header
					 block is padded so that whole 4 KiB blocks follow) */

/* Extent header, at the start of every extent but extent 0, 64 bytes.
 *
 *  OFFSET SIZE
 *     0     8  digest of bytes 8..63, seeded
 *     8     8  magic EXTENT_MAGIC
 *    16     8  salt of the open that took the extent
 *    24     8  number: how many extents its stream had taken before it, over all spindles
 *    32     1  stream (enum stream)
 *    33     3  0
 *    36     4  run: extents in this run, 1 unless one bulk entry needs several; only the first has a header
 *    40     8  seq: the newest commit when it was taken
 *    48    16  uuid of the database, by which what is seeded can be checked where the metadata pages are lost
 */
#define EXTENT_MAGIC 0x3145584547554653u /* "SFUGEXE1" */
#define EXTENT_HEADER_BYTES 64
enum stream { STREAM_LOG = 1, STREAM_BULK = 2 };

/* ---- Metadata page ----------------------------------------------------------------------------------------------- */

/* 4096 bytes, two of them on every spindle, at META_PAGE_A and META_PAGE_B. Spindle 0's carry the moving state; those of
 * the others change with each opening only (page.h). Only the older one is overwritten, and flushed before the other may be.
 *
 *  OFFSET SIZE
 *     0     8  magic "SOLIFUGE"
 *     8     4  format version
 *    12     4  physical sector the database was made for (slab padding)
 *    16     8  incompat features: unknown bits refuse opening
 *    24     8  ro-compat features: unknown bits refuse writing
 *    32     8  compat features: unknown bits are ignored
 *    40    16  uuid of the database
 *    56     8  generation: the page with the greater one is the newer
 *    64     8  salt of the open that wrote it
 *    72     8  created, nanoseconds since 1970
 *    80     2  spindle index
 *    82     2  spindle count
 *    84     2  slot: 0 for A, 1 for B
 *    86     2  flags: 1 clean close
 *    88     4  bytes in use of the spindle table
 *    92     4  0
 *    96     8  digest of the spindle table
 *   104     8  position of the slab with the newest MARK
 *   112     8  number of that slab
 *   120     8  digest of that slab
 *   128     8  log end: position behind the last slab known written
 *   136     8  number of the slab that belongs there
 *   144     8  durable seq then
 *   152     8  seq limit then: no seq above it has been handed out
 *   160     8  floor: oldest readable seq
 *   168     4  leaf bytes     172 4 branch bytes     176 4 inline bytes     180 4 bulk bytes (values from this size on
 *              go to bulk at once)
 *   184     4  compression: 0 none, 1 lz4
 *   188     4  0
 *   192  3896  0
 *  4088     8  digest of bytes 0..4087, seeded
 */
#define META_FLAG_CLEAN 0x1u
#define INCOMPAT_KNOWN ((uint64_t)0)
#define RO_COMPAT_KNOWN ((uint64_t)0)

/* Spindle table: {u16 length, path bytes} for spindles 1..n-1; the path of a further spindle, absolute or relative to the
 * directory of spindle 0. */

/* ---- Slab -------------------------------------------------------------------------------------------------------- */

/* What one group write appends; valid as a whole or not at all. Starts on a physical sector, never crosses an extent.
 *
 *  OFFSET SIZE
 *     0     8  digest of bytes 8..length-1, seeded
 *     8     8  magic SLAB_MAGIC
 *    16     8  digest of the previous slab, 0 for the first
 *    24     8  number: previous number + 1; the first is 1
 *    32     8  salt of this open
 *    40     4  length of the slab with padding
 *    44     4  payload: bytes of parts and records
 *    48     8  first seq, 0 when there is no commit
 *    56     8  last seq: newest commit in or before this slab
 *    64     8  seq limit: no seq above it is handed out before a slab says so
 *    72     8  durable seq when it was built
 *    80     8  next: position of the log extent reserved to follow this one, 0 while there is none
 *    88     4  parts
 *    92     4  records
 *    96  24*n  parts: bulk entries that are valid only if these are: u64 position, u64 hash (the entry's content hash),
 *              u32 length (the low 32 bits: what is less than a header has 2^32 more), u32 0
 *     .     .  log records
 *     .     .  zeros
 *    -8     8  end mark: number, bit-inverted
 */
#define SLAB_MAGIC 0x3142414c53465553u /* "SUFSLAB1" */
#define SLAB_HEADER_BYTES 96
#define SLAB_PART_BYTES 24
#define SLAB_TAIL_BYTES 8
#define SLAB_PARTS_MAX 1024
#define SEQ_LIMIT_STEP ((uint64_t)1 << 20)

/* Log record: header, then a body by kind. The next one begins at the next multiple of 8.
 *
 *     0     4  length with this header, without padding
 *     4     1  kind (enum record_kind)
 *     5     1  flags: 0
 *     6     2  0
 */
#define LOG_RECORD_HEADER_BYTES 8
enum log_record_kind {
	LOG_FINAL = 1,     /* a commit */
	LOG_TENTATIVE = 2, /* reserved */
	LOG_DECIDE = 3,    /* reserved */
	LOG_OPEN = 16,     /* a read-write open; repeated behind each MARK */
	LOG_MARK = 17,     /* a checkpoint */
	LOG_PIN = 18,      /* reserved */
	LOG_SETTING = 19,  /* reserved */
};

/* FINAL body (commit entry), after the record header:
 *
 *     0     8  seq
 *     8     8  clock: nanoseconds since 1970, raw
 *    16     8  search time: the same, but never less than that of the commit before
 *    24    16  logical digest (XXH3-128, low word first) of {previous logical digest, seq, blob, actions}
 *    40     4  actions
 *    44     4  bytes of inline actions; 0 when they went to bulk
 *    48     2  bytes of the blob
 *    50     2  chunks: bulk entries that hold the actions, in order
 *    52     4  0
 *    56     .  blob, then chunks * 24 bytes (as a slab's parts), then inline actions
 */
#define COMMIT_BODY_BYTES 56

/* Action: 12 bytes, key, then the value's bytes or reference. Not padded.
 *
 *     0     1  op (enum action_op)
 *     1     1  0
 *     2     2  key bytes
 *     4     4  tree
 *     8     4  bytes behind the key: the value; for ACTION_PUT_REF a value reference and u64 XXH3-64 of the raw value
 *              (ACTION_REF_BYTES); 0 for ACTION_DEL
 */
#define ACTION_REF_BYTES (VALUE_REF_BYTES + 8)
#define ACTION_HEADER_BYTES 12
enum action_op { ACTION_PUT = 1, ACTION_PUT_REF = 2, ACTION_DEL = 3 };

/* OPEN body: u64 salt, u64 inode, u64 birth time in ns, u64 clock in ns, 16 bytes uuid as in extent headers. */
#define OPEN_BODY_BYTES 48

/* MARK body:
 *
 *     0     8  root seq: the checkpoint holds the state after this commit
 *     8    16  logical digest after it
 *    24     8  search time of it
 *    32     8  replay from: position of the first slab that may hold later commits
 *    40     8  number of that slab: this one or an earlier one
 *    48     8  digest of the slab before it
 *    56     8  next of the slab before it: where it lies if not directly behind
 *    64    40  root of the roots tree (tree 0): a TREE_ROOT
 *   104     4  next tree id
 *   108     4  spindle count n
 *   112     8  user trees' entries, all together
 *   120     8  space map head, reserved, 0
 *   128     8  extents taken by the log, 136 8 by bulk: numbers for the next headers
 *   144     4  recyclable log extents m
 *   148     4  0
 *   152    16*n per spindle: u64 next extent never taken, u64 bytes of bulk written
 *     .    8*m positions of the recyclable log extents
 */
#define MARK_BODY_BYTES 152
#define MARK_RECYCLABLE_MAX 4096

/* TREE_ROOT, 40 bytes; also the value of the roots tree (key: tree id, big-endian):
 *     0  8 position of the root node, 0 for an empty tree    8  8 content hash    16  8 entries
 *    24  4 length    28  4 height    32  8 0
 */
#define TREE_ROOT_BYTES 40

/* ---- Bulk entries ------------------------------------------------------------------------------------------------ */

/* Entries start on multiples of 64 bytes. Node entries up to 4096 bytes never straddle a 4 KiB boundary, larger ones start
 * on one. No entry crosses the end of its extent or run. The common header:
 *
 *     0     8  digest of bytes 8..31 and of the position words (see ENTRY checksum in entry.h), seeded
 *     8     8  content hash
 *    16     4  length with header, without padding
 *    20     1  type (enum entry_type)
 *    21     1  kind: of a node (enum node_kind); of a value: 0 raw, 1 lz4
 *    22     1  level: of a node, 0 for leaf and delta; else 0
 *    23     1  flags: of a leaf or delta, 1: it holds value references; else 0
 *    24     4  tree that owns it
 *    28     4  value: key bytes; node: 0; actions: 0
 */
#define ENTRY_ALIGN 64
#define ENTRY_HEADER_BYTES 32
enum entry_type { ENTRY_VALUE = 1, ENTRY_NODE = 2, ENTRY_ACTIONS = 3 };

/* VALUE: header, u64 raw bytes (before compression), owner key, stored bytes.
 * ACTIONS: header, u64 seq of the commit (0 while unknown), actions. */
#define VALUE_HEADER_BYTES 40
enum value_coding { VALUE_RAW = 0, VALUE_LZ4 = 1 };

/* Reference to a value, 24 bytes: u64 position, u64 content hash, u32 stored bytes, u32 raw bytes. */
#define VALUE_REF_BYTES 24

/* NODE: 64-byte header (the common header first), then by kind.
 *
 *    32     4  count: records or children
 *    36     4  capacity of the arrays; equals count on disk
 *    40     4  records: offset of the lowest record byte, from the start of the node
 *    44     4  dead bytes among the records; 0 on disk
 *    48     2  fence bytes: the low fence key, by which the node can be found from the root
 *    50     2  prefix bytes that all keys share (longest common prefix of first and last; 0 when count < 2; of a branch
 *              that of separators 1..n-1; 0 when there are fewer than two of them)
 *    52     4  live: entries of the leaf with the delta applied; 0 in a branch
 *    56     8  lead: the first 8 bytes of the prefix, zero-filled
 *
 * Leaf:   u32 heads[capacity] | u32 slots[capacity] | fence | free (none on disk) | records, on disk at least one
 * Delta:  as a leaf, but a 32-byte base reference stands before the heads:
 *         u64 position, u64 content hash, u32 length, u32 entries, u64 0
 * Branch: u32 heads[c] | (pad to 8) u64 words[c] | u64 hashes[c] | u64 counts[c] | u32 lengths[c] | u32 slots[c] | fence |
 *         separators
 *
 * heads: the first 4 bytes of the key behind the prefix, as a big-endian number, zero-filled.
 * slots: offset of the record or separator from the start of the node.
 * Record: u16 key bytes, u16 kind and value bytes (kind in the top 2 bits; 24 for REF and HEAP, 0 for TOMB), key, inline
 *         value or VALUE_REF.
 * Separator: u16 bytes, bytes. The first of a branch is empty and never looked at: it stands for everything below the
 * second. Child i holds the keys k with separator[i] <= k < separator[i + 1].
 */
#define NODE_HEADER_BYTES 64
#define NODE_BYTES_MAX MIB
#define NODE_LEVELS_MAX 40
#define DELTA_BASE_BYTES 32
#define RECORD_HEADER_BYTES 4
#define SEPARATOR_HEADER_BYTES 2
#define INLINE_BYTES_MAX 16383
enum node_kind { NODE_LEAF = 0, NODE_BRANCH = 1, NODE_DELTA = 2 };
enum record_kind {
	RECORD_INLINE = 0,
	RECORD_REF = 1,
	RECORD_HEAP = 2, /* never on disk: 24 bytes that lead to a value in memory */
	RECORD_TOMB = 3, /* in deltas: the base's record is deleted */
};

/* ---- Limits ------------------------------------------------------------------------------------------------------ */

#define KEY_BYTES_MAX 65535
#define VALUE_BYTES_MAX (((uint64_t)1 << 32) - 64 * KIB)
#define BLOB_BYTES_MAX 65535
#define LZ4_BYTES_MAX 0x7E000000u

#define TREE_ROOTS 0 /* id -> TREE_ROOT; written at checkpoints only */
#define TREE_NAMES 1 /* name -> u32 id, u32 flags: 0 */
#define NAME_VALUE_BYTES 8
#define TREE_FIRST_USER 16

#define NODE_SIZE_MIN 256 /* of the settings of leaves and branches */
#define NODE_SIZE_MAX ((uint64_t)64 << 10)
#define INLINE_SIZE_MAX 4096
#define LEAF_BYTES_DEFAULT 2048
#define BRANCH_BYTES_DEFAULT 4096
#define INLINE_BYTES_DEFAULT 128
#define BULK_BYTES_DEFAULT (32 * 1024)

/* ---- Side file --------------------------------------------------------------------------------------------------- */

/* PATH.lock: never removed. Byte range [2^62, +1) is the writer's OFD lock; bytes below are the readers' (reserved).
 *     0    64  record: u64 digest of 8..63, u64 generation, u64 durable seq, u64 log end, u64 floor, u64 newest
 *              checkpoint seq, 16 zero (reserved for reading processes; zero in this version)
 *    64    32  "pid N\n" of the owner, as text, and zeros
 */
#define SIDE_SUFFIX ".lock"
#define SIDE_BYTES 96
#define SIDE_OWNER 64
#define SIDE_WRITER_BYTE ((uint64_t)1 << 62)

#endif
