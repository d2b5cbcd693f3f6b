//! The data-plane messages (data-plane.md 2.1 to 2.5) as prost structs: the judge.

use prost_derive::{Message, Oneof};
use std::collections::HashMap;

#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    #[prost(oneof = "Member", tags = "1, 2, 3, 5, 6")]
    pub member: Option<Member>,
    #[prost(map = "string, string", tag = "4")]
    pub metadata: HashMap<String, String>,
}
#[derive(Clone, PartialEq, Oneof)]
pub enum Member {
    #[prost(message, tag = "1")]
    Subscribe(Subscribe),
    #[prost(message, tag = "2")]
    Unsubscribe(Subscribe),
    #[prost(message, tag = "3")]
    Publish(Publish),
    #[prost(message, tag = "5")]
    Link(Link),
    #[prost(message, tag = "6")]
    Ack(Ack),
}
#[derive(Clone, PartialEq, Message)]
pub struct Subscribe {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(uint64, tag = "2")]
    pub subscription_id: u64,
}
#[derive(Clone, PartialEq, Message)]
pub struct Publish {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub session: Option<Session>,
    #[prost(message, optional, tag = "3")]
    pub msg: Option<Content>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Link {
    #[prost(oneof = "LinkType", tags = "1")]
    pub link_type: Option<LinkType>,
}
#[derive(Clone, PartialEq, Oneof)]
pub enum LinkType {
    #[prost(message, tag = "1")]
    Negotiation(Negotiation),
}
#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(uint64, tag = "1")]
    pub subscription_id: u64,
    #[prost(bool, tag = "2")]
    pub success: bool,
    #[prost(string, tag = "3")]
    pub error: String,
}
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(message, optional, tag = "1")]
    pub source: Option<Name>,
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Name>,
    #[prost(string, tag = "3")]
    pub identity: String,
    #[prost(uint32, tag = "4")]
    pub fanout: u32,
    #[prost(string, tag = "5")]
    pub version: String,
    #[prost(uint32, tag = "6")]
    pub ttl: u32,
    #[prost(uint64, optional, tag = "7")]
    pub recv_from: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    pub forward_to: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    pub incoming_conn: Option<u64>,
    #[prost(bool, optional, tag = "10")]
    pub error: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "11")]
    pub header_mac: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "12")]
    pub e2e_header_sig: Option<Vec<u8>>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Name {
    #[prost(message, optional, tag = "1")]
    pub name: Option<Encoded>,
    #[prost(message, optional, tag = "2")]
    pub str_name: Option<Strings>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Encoded {
    #[prost(uint64, tag = "1")]
    pub c0: u64,
    #[prost(uint64, tag = "2")]
    pub c1: u64,
    #[prost(uint64, tag = "3")]
    pub c2: u64,
    #[prost(message, optional, tag = "4")]
    pub id: Option<Id>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Id {
    #[prost(uint64, tag = "1")]
    pub hi: u64,
    #[prost(uint64, tag = "2")]
    pub lo: u64,
}
#[derive(Clone, PartialEq, Message)]
pub struct Strings {
    #[prost(string, tag = "1")]
    pub s0: String,
    #[prost(string, tag = "2")]
    pub s1: String,
    #[prost(string, tag = "3")]
    pub s2: String,
}
#[derive(Clone, PartialEq, Message)]
pub struct Session {
    #[prost(int32, tag = "1")]
    pub session_type: i32,
    #[prost(int32, tag = "2")]
    pub session_message_type: i32,
    #[prost(uint32, tag = "3")]
    pub session_id: u32,
    #[prost(uint32, tag = "4")]
    pub message_id: u32,
}
#[derive(Clone, PartialEq, Message)]
pub struct Content {
    #[prost(oneof = "ContentType", tags = "1, 2")]
    pub content_type: Option<ContentType>,
}
#[derive(Clone, PartialEq, Oneof)]
pub enum ContentType {
    #[prost(message, tag = "1")]
    App(App),
    #[prost(message, tag = "2")]
    Command(Command),
}
#[derive(Clone, PartialEq, Message)]
pub struct App {
    #[prost(string, tag = "1")]
    pub payload_type: String,
    #[prost(bytes = "vec", tag = "2")]
    pub blob: Vec<u8>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    #[prost(
        oneof = "CommandType",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16"
    )]
    pub command_type: Option<CommandType>,
}
#[derive(Clone, PartialEq, Oneof)]
pub enum CommandType {
    #[prost(message, tag = "1")]
    DiscoveryRequest(Empty),
    #[prost(message, tag = "2")]
    DiscoveryReply(Empty),
    #[prost(message, tag = "3")]
    JoinRequest(JoinRequest),
    #[prost(message, tag = "4")]
    JoinReply(JoinReply),
    #[prost(message, tag = "5")]
    LeaveRequest(Empty),
    #[prost(message, tag = "6")]
    LeaveReply(Empty),
    #[prost(message, tag = "7")]
    GroupUpdate(GroupUpdate),
    #[prost(message, tag = "8")]
    GroupWelcome(GroupWelcome),
    #[prost(message, tag = "9")]
    GroupClose(GroupClose),
    #[prost(message, tag = "10")]
    GroupProposal(NameAndBytes),
    #[prost(message, tag = "11")]
    GroupAck(Empty),
    #[prost(message, tag = "12")]
    GroupNack(Empty),
    #[prost(message, tag = "13")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "14")]
    ParticipantState(ParticipantState),
    #[prost(message, tag = "15")]
    RejoinRequest(NameAndBytes),
    #[prost(message, tag = "16")]
    RejoinReply(Mls),
}
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}
#[derive(Clone, PartialEq, Message)]
pub struct JoinRequest {
    #[prost(message, optional, tag = "1")]
    pub timer_settings: Option<TimerSettings>,
    #[prost(message, optional, tag = "2")]
    pub channel: Option<Name>,
    #[prost(message, optional, tag = "3")]
    pub control: Option<Name>,
    #[prost(message, optional, tag = "4")]
    pub mls_settings: Option<MlsSettings>,
}
#[derive(Clone, PartialEq, Message)]
pub struct TimerSettings {
    #[prost(uint32, tag = "1")]
    pub timeout: u32,
    #[prost(uint32, tag = "2")]
    pub max_retries: u32,
}
#[derive(Clone, PartialEq, Message)]
pub struct MlsSettings {
    #[prost(uint32, tag = "1")]
    pub percent: u32,
}
#[derive(Clone, PartialEq, Message)]
pub struct JoinReply {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key_package: Option<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    pub participant: Option<Participant>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Participant {
    #[prost(message, optional, tag = "1")]
    pub name: Option<Name>,
    #[prost(message, optional, tag = "2")]
    pub settings: Option<Settings>,
    #[prost(int32, tag = "3")]
    pub status: i32,
}
#[derive(Clone, PartialEq, Message)]
pub struct Settings {
    #[prost(bool, tag = "1")]
    pub sends_data: bool,
    #[prost(bool, tag = "2")]
    pub receives_data: bool,
}
#[derive(Clone, PartialEq, Message)]
pub struct GroupUpdate {
    #[prost(int32, tag = "1")]
    pub op: i32,
    #[prost(message, optional, tag = "2")]
    pub participant: Option<Participant>,
    #[prost(message, repeated, tag = "3")]
    pub participants: Vec<Participant>,
    #[prost(message, optional, tag = "4")]
    pub mls: Option<Mls>,
}
#[derive(Clone, PartialEq, Message)]
pub struct GroupWelcome {
    #[prost(message, repeated, tag = "1")]
    pub participants: Vec<Participant>,
    #[prost(message, optional, tag = "2")]
    pub mls: Option<Mls>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Mls {
    #[prost(uint32, tag = "1")]
    pub commit_id: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub mls_content: Vec<u8>,
}
#[derive(Clone, PartialEq, Message)]
pub struct GroupClose {
    #[prost(message, repeated, tag = "1")]
    pub participants: Vec<Name>,
}
#[derive(Clone, PartialEq, Message)]
pub struct NameAndBytes {
    #[prost(message, optional, tag = "1")]
    pub name: Option<Name>,
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}
#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
}
#[derive(Clone, PartialEq, Message)]
pub struct ParticipantState {
    #[prost(message, optional, tag = "1")]
    pub participant: Option<Name>,
    #[prost(int32, tag = "2")]
    pub new_state: i32,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
}
#[derive(Clone, PartialEq, Message)]
pub struct Negotiation {
    #[prost(string, tag = "1")]
    pub link_id: String,
    #[prost(string, tag = "2")]
    pub slim_version: String,
    #[prost(bool, tag = "3")]
    pub is_reply: bool,
    #[prost(bytes = "vec", tag = "4")]
    pub key: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub connection_type: i32,
    #[prost(string, tag = "6")]
    pub node_id: String,
    #[prost(string, tag = "7")]
    pub deployment_name: String,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub kem_payload: Option<Vec<u8>>,
}
