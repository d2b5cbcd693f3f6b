#include "core/wire.h"

/* One row per message type of the wire, innermost first; the index is the field number. */
#define VARINT                                                                                                                     \
    {                                                                                                                              \
        SLIM_FIELD_VARINT, NULL                                                                                                    \
    }
#define BYTES                                                                                                                      \
    {                                                                                                                              \
        SLIM_FIELD_BYTES, NULL                                                                                                     \
    }
#define STRING                                                                                                                     \
    {                                                                                                                              \
        SLIM_FIELD_STRING, NULL                                                                                                    \
    }
#define MESSAGE(type)                                                                                                              \
    {                                                                                                                              \
        SLIM_FIELD_MESSAGE, &type                                                                                                  \
    }
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SCHEMA(linkage, name, ...)                                                                                                 \
    static const slim_field name##_fields[] = {{SLIM_FIELD_UNKNOWN, NULL}, __VA_ARGS__};                                           \
    linkage const slim_schema name = {COUNT(name##_fields), name##_fields}

static const slim_schema empty = {0, NULL};

/* 2.3 */
SCHEMA(static, name_id, VARINT, VARINT);
SCHEMA(static, encoded_name, VARINT, VARINT, VARINT, MESSAGE(name_id));
SCHEMA(static, string_name, STRING, STRING, STRING);
SCHEMA(static, name, MESSAGE(encoded_name), MESSAGE(string_name));

/* 2.4 */
SCHEMA(static, participant_settings, VARINT, VARINT);
SCHEMA(static, participant, MESSAGE(name), MESSAGE(participant_settings), VARINT);
SCHEMA(static, timer_settings, VARINT, VARINT);
SCHEMA(static, mls_settings, VARINT);
SCHEMA(static, mls_payload, VARINT, BYTES);
SCHEMA(static, join_request, MESSAGE(timer_settings), MESSAGE(name), MESSAGE(name), MESSAGE(mls_settings));
SCHEMA(static, join_reply, BYTES, MESSAGE(participant));
SCHEMA(static, group_update, VARINT, MESSAGE(participant), MESSAGE(participant), MESSAGE(mls_payload));
SCHEMA(static, group_welcome, MESSAGE(participant), MESSAGE(mls_payload));
SCHEMA(static, group_close, MESSAGE(name));
SCHEMA(static, group_proposal, MESSAGE(name), BYTES);
SCHEMA(static, heartbeat, VARINT);
SCHEMA(static, participant_state, MESSAGE(name), VARINT, VARINT);
SCHEMA(static, rejoin_request, MESSAGE(name), BYTES);
SCHEMA(static, rejoin_reply, VARINT, BYTES);
SCHEMA(static, command, MESSAGE(empty), MESSAGE(empty), MESSAGE(join_request), MESSAGE(join_reply), MESSAGE(empty), MESSAGE(empty),
       MESSAGE(group_update), MESSAGE(group_welcome), MESSAGE(group_close), MESSAGE(group_proposal), MESSAGE(empty), MESSAGE(empty),
       MESSAGE(heartbeat), MESSAGE(participant_state), MESSAGE(rejoin_request), MESSAGE(rejoin_reply));
SCHEMA(static, application, STRING, BYTES);

SCHEMA(, slim_schema_metadata, STRING, STRING);
SCHEMA(, slim_schema_session, VARINT, VARINT, VARINT, VARINT);
SCHEMA(, slim_schema_content, MESSAGE(application), MESSAGE(command));
/* 2.5 */
SCHEMA(, slim_schema_link_negotiation, STRING, STRING, VARINT, BYTES, VARINT, STRING, STRING, BYTES);
/* 2.1 */
SCHEMA(, slim_schema_subscription_ack, VARINT, VARINT, STRING);
