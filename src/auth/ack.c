#include "auth/negotiation.h"
#include "core/wire.h"
#include "data_plane.pb-c.h"

size_t slim_subscription_ack_bound(const char *error)
{
    return 32 + (error != NULL ? strlen(error) : 0);
}

size_t slim_subscription_ack_build(uint64_t id, const char *error, uint8_t *out)
{
    Dataplane__Proto__V1__SubscriptionAck ack = DATAPLANE__PROTO__V1__SUBSCRIPTION_ACK__INIT;
    Dataplane__Proto__V1__Message m = DATAPLANE__PROTO__V1__MESSAGE__INIT;

    ack.subscription_id = id;
    if (error == NULL || error[0] == '\0') {
        ack.success = true;
    } else {
        ack.error.data = (uint8_t *)(uintptr_t)error;
        ack.error.len = strlen(error);
    }
    m.message_type_case = DATAPLANE__PROTO__V1__MESSAGE__MESSAGE_TYPE_SUBSCRIPTION_ACK;
    m.subscription_ack = &ack;
    return dataplane__proto__v1__message__pack(&m, out);
}

/* Decoded by hand: three fields, no allocation, and the text borrows from the message. */
slim_err slim_subscription_ack_decode(slim_bytes body, slim_subscription_ack *out)
{
    const uint8_t *p = body.p, *end = body.n != 0 ? p + body.n : p;
    slim_err e = SLIM_OK;
    uint64_t key, v;

    *out = (slim_subscription_ack){0};
    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &e)) == NULL)
            return e;
        switch (key) {
        case SLIM_KEY_VARINT(1): p = slim_wire_varint(p, end, &out->id, &e); break;
        case SLIM_KEY_VARINT(2):
            if ((p = slim_wire_varint(p, end, &v, &e)) != NULL)
                out->success = v != 0;
            break;
        case SLIM_KEY_LEN(3): p = slim_wire_part(p, end, &out->error, &e); break;
        default:
            if (key >> 3 >= 1 && key >> 3 <= 3 && (key & 7) <= SLIM_WIRE_32)
                return SLIM_E_WIRETYPE;
            p = slim_wire_skip(p, end, key, 1, &e);
        }
        if (p == NULL)
            return e;
    }
    return SLIM_OK;
}
