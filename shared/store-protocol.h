/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protocol between manager and store worker: SOCK_SEQPACKET, one operation a connection.
 *
 * systemd starts one davit-store@.service for each connection to /run/davit/store, so a worker that
 * dies takes one operation with it. A second socket, /run/davit/store-snapshot, takes the operations that read overlay
 * uppers and no others: its davit-store-snapshot@.service may see the attributes overlayfs keeps there, and reads
 * no archives but the records of layers. The manager sends STORE_REQUEST; the worker answers with any number of
 * STORE_PROGRESS and ends with exactly one STORE_DONE or STORE_ERROR, then exits. STORE_CANCEL, or the
 * manager's end being closed, makes it stop and leave nothing behind. Descriptors of a request come in the order the
 * operation says.
 *
 * What an operation publishes (import, rootfs) is safe from collection until the manager closes the connection, which
 * it does after its records of it are written; until then the worker waits. A collection sends STORE_READY once it has
 * seen what running operations rely on; the manager answers with STORE_ROOTS, all that its records name at that moment.
 *
 * A packet is a struct store_message and a text. Requests and results are JSON objects in that text
 * (UTF-8, at most STORE_TEXT_MAX bytes; a larger one, request or result, comes as one sealed memfd instead: text_size
 * 0, the memfd being the last descriptor, at most STORE_RESULT_MAX bytes). The worker is the only process that parses
 * JSON written by strangers; what it returns has been rebuilt field by field, and the manager still checks types and
 * limits of each member (daemon/image-record.c).
 *
 * Operations ("operation" member of the request):
 *   import   {"name"?,"format":"auto|oci|docker|rootfs","size":N,"platform"?,"rootfs":"erofs|checkout|none",
 *            "have"?:[{"digest","diff_id","size"}],"ordered"?,"limits":{...}};
 *            fds: archive (regular file, pipe, stream socket, or a directory that holds an OCI layout). "size" is there
 *            when it is known, "platform" is "os/arch[/variant]" or "all", "rootfs" the form the host
 *            mounts, or "none" for one that is not made now. "have" are layers, by the digests of their blobs, that the
 *            archive need not hold because they are in the store: FailedPrecondition where one is not. In an archive
 *            that is "ordered", a plain tar of an OCI layout, each document comes before what it describes: it is read
 *            as it arrives, and nothing of it is spooled.
 *            Result: {"images":[IMAGE...]}
 *   collect  {"dry_run"?}: frees what no root needs. STORE_ROOTS: {"chains":[chain id],"contents":[digest]}.
 *            Result: {"freed":BYTES,"objects":N,"chains":[dropped],"contents":[dropped]}
 *   check    {"repair"?,"chains":[chain id],"contents":[digest]}: reads everything back; the lists are what has to be
 *            there. Result: {"objects":N,"bytes":N,"damaged":[{"kind":"object|ref|layer|chain|erofs|checkout|content",
 *            "id","path"?,"why","chains":[...],"contents":[...],"repaired":bool}]}
 *   why      {"object":64 digits}: what leads to an object of the repository.
 *            Result: {"chains":[...],"contents":[...],"layers":[...]}
 *   commit   {"parent":chain id or "","rootfs"?}; fds: upper directory of a snapshot on that chain. Makes a layer of
 *            what it changes and the chain of both. "size" is the layer's tar's; "layers" are all, as plain tars.
 *            Result: {"chain_id","diff_id","size","inodes","rootfs":ROOTFS,"layers":[{"diff_id","digest","size"}]}
 *                                                                                        [snapshot socket]
 *   diff     {"from","to","format"?:"tar|list","compression"?:"none|gzip|zstd"}; fds: output (pipe, file, socket), and
 *            where there is one the upper directory of a snapshot on "to". Writes what makes the one the other: an OCI
 *            layer, or records "A /path", "C /path", "D /path", each with its NUL. from and to are chain ids or empty.
 *            Result: {"digest","diff_id","size","media_type"}, of a list {"size"}        [snapshot socket]
 *   apply    {"digest"?,"limits"?}; fds: layer (file, pipe or socket; plain, gzip, zstd), root directory of a mounted
 *            snapshot. Reads and verifies the layer whole before it writes; a failure after that says that the
 *            snapshot holds a part. "digest" is the blob's. Result: {"diff_id","size"}
 *   usage    {}; fds: upper directories. Result: {"usage":[{"bytes","inodes"}]}, in their order   [snapshot socket]
 *   space    {}: bytes the repository takes on disk. Result: {"bytes":N}
 *   save     {"images":[{"names":[...],"digest","index"?}],"format":"oci|docker|rootfs",
 *            "compression":"none|gzip|zstd"}; fds: output (pipe, stream socket, file; or a directory for an OCI
 *            layout). "index" is taken where the format has room for one. A reader that takes
 *            nothing for a minute ends it. Result: {"bytes":N}
 *   compose  {"parent":manifest's digest or "","diff_ids":[all, lowest first] or "layer":one above the parent's,
 *            "chain_id"?,"author"?,"message"?,"changes"?:["CMD ...",...],"created"? (usec),"rootfs"?}: a manifest and
 *            a configuration for layers that are there. Result: {"image":IMAGE without "name"}
 *   content-commit {"digest"?,"size"?}; fds: the data, copied as it is now. Result: {"digest","size"}
 *   content-read   {"digest","offset"?,"length"? (0: to the end),"kind":"blob|layer"}; fds: output. A layer is named
 *            by its diff id and comes uncompressed. Result: {"size":BYTES written}
 *   rootfs   {"chain_id","rootfs":"erofs|checkout"}: makes the chain's root file system in this form if it is missing.
 *            Result: {"rootfs":ROOTFS}
 *
 * IMAGE: {"name","digest","config_digest","media_type","platform":{"os","architecture","variant"?},"size","created",
 *         "manifest_size","config_size",
 *         "layers":[{"diff_id","digest","size"}],"chain_id","rootfs":ROOTFS,
 *         "config":{"Entrypoint"[],"Cmd"[],"Env"[],"WorkingDir","User","StopSignal","Labels"{},
 *                   "Volumes"[],"ExposedPorts"[]},
 *         "history":[{"created","created_by"?,"author"?,"comment"?,"empty_layer"?}],
 *         "index"? (digest of the index it came from, when all that leads to is here),
 *         "source"? (digest of the index or manifest that an OCI layout names for it),
 *         "platforms"?:[the same without "name", "index", "source", "platforms" for each further platform]}
 * ROOTFS: {"form":"erofs|checkout","path","root"?:{"uid","gid","mode"}}, without form and path where none was made;
 * path is "/var/lib/davit/erofs/<chain id without sha256:>", an image, or ".../checkouts/<...>", a directory; root is
 * the top directory's owner and permission bits, which an overlay's upper has to repeat. Names of images are in the
 * form image_name_normalise() gives (shared/image-name.h), in requests and in results. "created" is in microseconds
 * since the epoch, 0 when the image does not say; sizes are bytes; digests, diff and chain ids are "sha256:" and 64
 * lower-case hexadecimal digits.
 */

#include <stdint.h>

#define STORE_PROTOCOL_VERSION 1U
#define STORE_TEXT_MAX (64U * 1024U)
#define STORE_RESULT_MAX (4U * 1024U * 1024U)

enum store_message_type {
        STORE_REQUEST = 1, /* manager -> worker, fds as the operation says */
        STORE_CANCEL,      /* manager -> worker */
        STORE_PROGRESS,    /* worker -> manager, struct store_progress follows the header */
        STORE_DONE,        /* worker -> manager, text: result */
        STORE_ERROR,       /* worker -> manager, text: {"error":"NotFound|InvalidArgument|...","message":"..."} */
        STORE_READY,       /* worker -> manager: collection holds the repository, the roots are wanted */
        STORE_ROOTS,       /* manager -> worker, text: the roots, a JSON object */
};

struct store_message {
        uint32_t version;
        uint16_t type;
        uint16_t n_fds;
        uint32_t text_size;
        uint32_t pad;
};

struct store_progress {
        uint64_t bytes_done;  /* of the input as it arrives */
        uint64_t bytes_total; /* 0: not known */
        uint32_t layers_done;
        uint32_t layers_total;
};
