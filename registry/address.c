/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Addresses that nobody but this machine is to be asked at.
 *
 * Loopback and what stands for it, and link-local addresses, where clouds keep what they tell a machine about itself.
 * Nothing here resolves a name: what is looked at is what is about to be connected to.
 */

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "registry/registry.h"

static gboolean is_local_v4(guint32 ip) {
        return ip >> 24 == 0 || ip >> 24 == IN_LOOPBACKNET || ip >> 16 == 0xa9fe;
}

static gboolean is_local_v6(const struct in6_addr *ip) {
        guint32 v4;

        memcpy(&v4, ip->s6_addr + 12, sizeof(v4));
        if (IN6_IS_ADDR_V4MAPPED(ip))
                return is_local_v4(ntohl(v4));
        return IN6_IS_ADDR_UNSPECIFIED(ip) || IN6_IS_ADDR_LOOPBACK(ip) || IN6_IS_ADDR_LINKLOCAL(ip);
}

/** address_is_local() - of a socket address; what is none of IP's is local */
gboolean address_is_local(const struct sockaddr *address, gsize size) {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;

        if (address->sa_family == AF_INET && size >= sizeof(v4)) {
                memcpy(&v4, address, sizeof(v4));
                return is_local_v4(ntohl(v4.sin_addr.s_addr));
        }
        if (address->sa_family == AF_INET6 && size >= sizeof(v6)) {
                memcpy(&v6, address, sizeof(v6));
                return is_local_v6(&v6.sin6_addr);
        }
        return TRUE;
}

static guint address_port(const struct sockaddr *address, gsize size) {
        struct sockaddr_in6 a; /* its port is where IPv4's is */

        if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) || size < sizeof(struct sockaddr_in))
                return 0;
        memcpy(&a, address, MIN(size, sizeof(a)));
        return ntohs(a.sin6_port);
}

/* 0: none. Source: libcurl's CURLOPT_PROXY(3), which says what a proxy without a port has. */
static guint proxy_port(const char *proxy) {
        CURLU *u = curl_url();
        char *port = NULL;
        guint n = 0;

        if (u && curl_url_set(u, CURLUPART_URL, proxy, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
                n = g_str_has_prefix(proxy, "https://") ? 443 : 1080;
                if (curl_url_get(u, CURLUPART_PORT, &port, 0) == CURLUE_OK)
                        n = (guint)strtoul(port, NULL, 10);
        }
        curl_free(port);
        curl_url_cleanup(u);
        return n;
}

/** address_is_proxy() - whether a proxy is at this port, and so perhaps at this address: one may well be on this
 * machine, and where it leads to is its to say */
gboolean address_is_proxy(const struct sockaddr *address, gsize size) {
        static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
        guint port = address_port(address, size);

        for (gsize i = 0; port > 0 && i < G_N_ELEMENTS(names); i++)
                if (g_getenv(names[i]) && proxy_port(g_getenv(names[i])) == port)
                        return TRUE;
        return FALSE;
}

/** address_text_is_local() - of an address as text; what is none is not */
gboolean address_text_is_local(const char *text) {
        struct in_addr v4;
        struct in6_addr v6;

        if (inet_pton(AF_INET, text, &v4) == 1)
                return is_local_v4(ntohl(v4.s_addr));
        return inet_pton(AF_INET6, text, &v6) == 1 && is_local_v6(&v6);
}
