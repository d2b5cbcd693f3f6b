#include "auth/negotiation.h"
#include "data_plane.pb-c.h"


size_t slim_subscription_ack_bound(const char *error) { return 32 + (error != NULL ? strlen(error) : 0); }

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
    slim_cur c = slim_cur_of(body);
    slim_err e = SLIM_OK;

    *out = (slim_subscription_ack){0};
    while (e == SLIM_OK && slim_cur_left(&c) > 0) {
        uint64_t key, v;
        slim_bytes part;

        if ((e = slim_cur_varint(&c, &key)) != SLIM_OK)
            break;
        switch (key & 7) {
        case 0:
            if ((e = slim_cur_varint(&c, &v)) == SLIM_OK) {
                if (key >> 3 == 1)
                    out->id = v;
                else if (key >> 3 == 2)
                    out->success = v != 0;
            }
            break;
        case 2:
            if ((e = slim_cur_sub(&c, &part)) == SLIM_OK && key >> 3 == 3)
                out->error = part;
            break;
        case 1:
        case 5: {
            size_t n = (key & 7) == 1 ? 8 : 4;

            if (slim_cur_left(&c) < n)
                e = SLIM_E_TRUNCATED;
            else
                c.p += n;
            break;
        }
        default: e = SLIM_E_WIRETYPE; /* groups of unknown fields: nobody sends them here */
        }
    }
    return e;
}
