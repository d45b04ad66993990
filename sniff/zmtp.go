package sniff

// The signature that opens every greeting since ZMTP 2.0 (RFC 23 and 37, section "Greeting"; RFC 15 for 2.0):
//
//	FF, eight bytes, 7F
//
// The eight bytes were the length of the routing id in ZMTP 1.0 and are padding since. libzmq still writes that length
// (plus one), so all but the first of them vary. The first, the high byte of a 64-bit length, is 00 in every
// implementation, and tells ZMTP from Telnet (FF FB to FF FE) and from BGP (sixteen FF).
//
// A libzmq client sends these ten bytes and then waits for the server's: nobody may wait for the eleventh. ZMTP 1.0 has
// no signature and is not recognised.
const zmtpSignatureBytes = 10

func probeZMTP(prefix []byte) Verdict {
	if v := literal(prefix, "\xff\x00"); v != Accept {
		return v
	}
	if len(prefix) < zmtpSignatureBytes {
		return NeedMore
	}
	if prefix[zmtpSignatureBytes-1] != 0x7f {
		return Reject
	}
	return Accept
}
