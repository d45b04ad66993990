package sniff

// sshBanner opens the identification string of every SSH version (RFC 4253, section 4.2). Only a server may send other
// lines before it.
const sshBanner = "SSH-"

func probeSSH(prefix []byte) Verdict {
	return literal(prefix, sshBanner)
}
