package zmtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// z85Alphabet and the grouping, four bytes as five characters, are RFC 32's.
const z85Alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

// z85None marks a character outside the alphabet.
const z85None = 0xFF

var z85Values = func() (values [256]byte) {
	for i := range values {
		values[i] = z85None
	}
	for i := range len(z85Alphabet) {
		values[z85Alphabet[i]] = byte(i)
	}
	return values
}()

// EncodeZ85 returns b as text; the size of b must be a multiple of four.
func EncodeZ85(b []byte) (string, error) {
	if len(b)%4 != 0 {
		return "", fmt.Errorf("zmtp: Z85 wants a multiple of 4 bytes, not %d", len(b))
	}
	out := make([]byte, 0, len(b)/4*5)
	for ; len(b) > 0; b = b[4:] {
		value := binary.BigEndian.Uint32(b)
		for divisor := uint32(85 * 85 * 85 * 85); divisor > 0; divisor /= 85 {
			out = append(out, z85Alphabet[value/divisor%85])
		}
	}
	return string(out), nil
}

// errZ85Range is a group of five characters that is no 32-bit number.
var errZ85Range = errors.New("zmtp: Z85 group is above 2^32-1")

// DecodeZ85 returns the bytes of text. An error never repeats the text, which may be a secret key.
func DecodeZ85(text string) ([]byte, error) {
	if len(text)%5 != 0 {
		return nil, fmt.Errorf("zmtp: Z85 wants a multiple of 5 characters, not %d", len(text))
	}
	out := make([]byte, 0, len(text)/5*4)
	for at := 0; at < len(text); at += 5 {
		value := uint64(0)
		for i := at; i < at+5; i++ {
			digit := z85Values[text[i]]
			if digit == z85None {
				return nil, fmt.Errorf("zmtp: character %d is not of the Z85 alphabet", i+1)
			}
			value = value*85 + uint64(digit)
		}
		if value > math.MaxUint32 {
			return nil, errZ85Range
		}
		out = binary.BigEndian.AppendUint32(out, uint32(value))
	}
	return out, nil
}
