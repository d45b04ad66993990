package pair

// Affinity is rendezvous hashing (Thaler and Ravishankar, 1998): for each client every identity has a score, and the client
// prefers the highest. When an identity goes, its clients alone move, each to its own second choice; when it is back, so are
// they. The scores depend on nothing but the two names, so all gateways agree without talking. They must therefore
// stay what they are from release to release: a test holds some.

// hashText is FNV-1a, 64 bits.
func hashText(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h
}

// score says how much the client with this hash prefers the identity with that hash. The mixing is the finaliser of
// SplitMix64: FNV alone follows the last bytes too closely.
func score(client, identity uint64) uint64 {
	x := client ^ mix(identity)
	return mix(x)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
