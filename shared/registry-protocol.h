/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protocol between manager and registry worker: store-protocol.h's, with other operations.
 *
 * systemd starts one davit-registry@.service for each connection to /run/davit/registry. Packets are struct
 * store_message with STORE_PROTOCOL_VERSION and the types STORE_REQUEST, STORE_CANCEL, STORE_PROGRESS, STORE_DONE and
 * STORE_ERROR, with the same sizes: a request larger than STORE_TEXT_MAX is a sealed memfd, the last descriptor. The
 * worker stops at once when it is cancelled or the connection ends, and ends itself after STORE_DONE or STORE_ERROR.
 *
 * The worker is the only program with a network. It knows nothing of the store: what it fetches it writes to a pipe, as
 * the tar of an OCI image layout. Whoever reads has to verify it again, and to take nothing for whole before
 * STORE_DONE: of an image that cannot be had the stream just stops, without the end mark of a tar.
 *
 * Request:
 *   {"reference","platform"?,"digest_only"?,"have"?:[digest],"insecure"?,"credentials"?,"token_hosts"?:[host],
 *    "limits"?:{...}}; fds: output (a pipe; none with "digest_only"), credentials (where the member is true).
 *
 *   reference    HOST[:PORT]/PATH, then ":TAG", "@DIGEST" or both, in which case the digest counts. "docker.io" stands
 *                for the host that serves its registry.
 *   platform     "os/arch[/variant]", or "all"; this machine's where it is missing
 *   digest_only  only find out what the reference means now
 *   have         blobs of layers that are in the store: they are left out of the stream, and of what is fetched.
 *                Manifests and configurations are always written.
 *   insecure     plain HTTP is allowed with this host. Certificates are always checked.
 *   credentials  a memfd or file of at most REGISTRY_CREDENTIALS_MAX bytes, read from its beginning by offset:
 *                {"username","password"} or {"token"}, with "registry"? "HOST[:PORT]". They are for the reference's
 *                host, and not used when "registry" is another. A name and password also go to the service the
 *                host takes its tokens from, when that is the host itself, the domain it is in, docker.io's for
 *                docker.io, or one of "token_hosts"; otherwise they fail the operation.
 *   limits       "bytes" of all blobs together, "layers" of an image, "images" of an index, as for an import; others
 *                of an import are ignored. "connect_usec" until a connection stands (15 s), "stall_usec" in which
 *                something has to come (30 s; the time nobody reads the output does not count), and in two of which a
 *                document has to be there, or a KiB of a layer for each second; all waiting together, between tries as
 *                well, may be twenty of them, and a second for each KiB of layers. "retries" (4) of what may pass: lost
 *                connections, 429 and 5xx.
 *
 * Progress: bytes and layers that are fetched; those of "have" are not among them.
 *
 * Result: {"digest","media_type","manifest"?,"size","fetched"}. "digest" and "media_type" are the document's that the
 * reference names, an index or a manifest; "manifest" is the digest of the platform's manifest, which is the same one
 * without an index, and missing for "all". "size" is all layers' and configurations', of digest_only that document's;
 * "fetched" are bytes that came from the network.
 *
 * The stream: oci-layout, index.json with exactly one descriptor (the document's that the reference names; the
 * annotation "org.opencontainers.image.ref.name" is the reference), then blobs/sha256/..., each once: indexes,
 * manifests and configurations before the layers that they name. Every blob is as the registry has it, of the size and
 * the digest its descriptor says; of an index the manifests of other platforms are missing.
 *
 * Errors: NotFound, PermissionDenied, InvalidArgument (the request, or what the registry sends: digests, sizes,
 * documents that do not fit), NotSupported, ResourceExhausted (a limit, ours or the registry's), Unavailable (network,
 * TLS, the registry itself), Internal. The message is a sentence that names the host.
 */

#include "shared/store-protocol.h"

#define REGISTRY_CREDENTIALS_MAX (64U * 1024U)
