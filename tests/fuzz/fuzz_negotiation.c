/* The three readers of src/auth over whatever the scanner accepts: the acceptor, the dialler's finish and the acknowledgement.
 * Whatever they accept is held against the slow decoder. The first byte chooses strictness and the allocation that fails. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/negotiation.h"
#include "support/slow_decode.h"
#include "support/support.h"
#include "check.h"

static bool constant(void *arg, uint8_t *p, size_t n)
{
    memset(p, 0x5a, n);
    return true;
}

static const slim_random rnd = {constant, NULL};

static slim_bytes peer_link_id(const slim_negotiated *n)
{
    return slim_bytes_of(n->link_id, n->link_id_bytes);
}

/* What both sides check of an accepted message. */
static void check_accepted(const slim_negotiated *n, const slow_node *offer, bool is_reply, bool strict)
{
    CHECK(offer != NULL);
    CHECK((offer->field[3].number != 0) == is_reply);
    CHECK(slim_bytes_eq(peer_link_id(n), offer->field[1].bytes) && n->link_id_bytes > 0);
    CHECK(slim_version_valid(offer->field[2].bytes));
    CHECK(strlen(n->peer_version) == offer->field[2].bytes.n);
    CHECK(strlen(n->peer_node_id) == offer->field[6].bytes.n);
    CHECK(strlen(n->peer_deployment) == offer->field[7].bytes.n);
    CHECK(!n->has_key || offer->field[4].bytes.n == 32);
    CHECK(n->has_key || !strict);
}

static slow_node *offer_of(slow_node *root)
{
    return slow_child(slow_child(root, SLIM_MSG_LINK), 1);
}

/* One side's call came back: either all of it or nothing. */
static void check_error(slim_err e, const slim_negotiated *n, const char *why, const test_mem *m)
{
    CHECK(e == SLIM_E_NEGOTIATION || (e == SLIM_E_NOMEM && m->failed));
    CHECK((e == SLIM_E_NEGOTIATION) == (why != NULL));
    CHECK(n->link_id == NULL && n->peer_node_id == NULL && !n->has_key);
}

static void run_acceptor(const slim_view *v, slow_node *root, bool strict, long fail_at)
{
    const slim_negotiation_config cfg = {"node-fuzz", "1.2.3", "prod", strict};
    slim_negotiated peer;
    uint8_t *reply;
    const char *why;
    size_t n;
    test_mem m;
    slim_err e;

    test_mem_init(&m, fail_at);
    e = slim_negotiation_accept(&cfg, v, &rnd, &m.mem, &peer, &reply, &n, &why);
    if (e == SLIM_OK) {
        slow_node *answer = slow_decode(slim_bytes_of(reply, n)), *ours = offer_of(answer);

        check_accepted(&peer, offer_of(root), false, strict);
        CHECK(ours != NULL && ours->field[3].number == 1);
        CHECK(slim_bytes_eq(ours->field[1].bytes, peer_link_id(&peer)));
        CHECK(ours->field[4].bytes.n == (peer.has_key ? 32 : 0));
        CHECK(ours->field[5].number == (peer.kind == SLIM_PEER ? 1 : peer.kind == SLIM_EDGE ? 2 : 0));
        CHECK(!ours->field[8].present);
        slow_free(answer);
    } else {
        check_error(e, &peer, why, &m);
        CHECK(reply == NULL);
    }
    slim_negotiated_clear(&peer);
    slim_free(&m.mem, reply);
    CHECK(m.live == 0);
}

/* The dialler asked with the link id of the message, if there is one, so that the answer can be right. */
static void run_dialler(const slim_view *v, slow_node *root, bool strict, long fail_at)
{
    const slim_negotiation_config cfg = {"node-fuzz", "1.2.3", "", strict};
    slow_node *offer = offer_of(root);
    slim_bytes id = offer != NULL && offer->field[1].bytes.n > 0 ? offer->field[1].bytes : slim_bytes_str("x");
    slim_negotiation *asking;
    slim_negotiated peer;
    uint8_t *request;
    const char *why;
    size_t n;
    test_mem m;
    slim_err e;

    test_mem_init(&m, fail_at);
    if ((asking = slim_negotiation_start(&cfg, id, SLIM_EDGE, &rnd, &m.mem, &request, &n)) == NULL) {
        CHECK(m.failed && request == NULL && m.live == 0);
        return;
    }
    e = slim_negotiation_finish(asking, v, &peer, &why);
    if (e == SLIM_OK)
        check_accepted(&peer, offer, true, strict);
    else
        check_error(e, &peer, why, &m);
    slim_negotiated_clear(&peer);
    slim_negotiation_free(asking);
    slim_free(&m.mem, request);
    CHECK(m.live == 0);
}

static void run_ack(const slim_view *v, slow_node *root)
{
    const slow_node *n = slow_child(root, SLIM_MSG_SUBSCRIPTION_ACK);
    slim_subscription_ack ack;

    CHECK(slim_subscription_ack_decode(v->body, &ack) == SLIM_OK);
    CHECK(n != NULL && ack.id == n->field[1].number && ack.success == (n->field[2].number != 0));
    CHECK(slim_bytes_eq(ack.error, n->field[3].bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slim_subscription_ack ack;
    bool strict;
    long fail_at;
    slim_bytes msg;
    slow_node *root;
    slim_view v;

    if (size == 0)
        return 0;
    strict = (data[0] & 1) != 0;
    fail_at = (data[0] & 2) != 0 ? (data[0] >> 2) % 10 : -1;
    msg = slim_bytes_of(data + 1, size - 1);
    /* Bytes that nobody scanned must not harm either. */
    slim_subscription_ack_decode(msg, &ack);
    if (slim_view_scan(msg, &v) != SLIM_OK)
        return 0;
    root = slow_decode(msg);
    CHECK(root != NULL);
    run_acceptor(&v, root, strict, fail_at);
    run_dialler(&v, root, strict, fail_at);
    if (!v.plain) {
        uint8_t *merged;
        size_t n;

        CHECK(slim_view_normalise(msg, &slim_mem_libc, &merged, &n, &v) == SLIM_OK);
        if (v.type == SLIM_MSG_SUBSCRIPTION_ACK)
            run_ack(&v, root);
        run_acceptor(&v, root, strict, fail_at);
        slim_free(&slim_mem_libc, merged);
    } else if (v.type == SLIM_MSG_SUBSCRIPTION_ACK) {
        run_ack(&v, root);
    }
    slow_free(root);
    return 0;
}
