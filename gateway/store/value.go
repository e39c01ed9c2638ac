package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// valueVersion is the format of a stored value:
//
//	1 byte version | 4 bytes CRC32C, little endian | payload
//
// The checksum covers version, bucket, key and payload, so a value that turns
// up under another key is as damaged as one with a flipped bit.
const valueVersion = 1

const valueHeader = 1 + 4

// ErrBadValue: a stored value failed its checksum or has a format that this
// program does not read. It is never served.
var ErrBadValue = errors.New("stored value can not be used")

func seal(bucket, key string, payload []byte) []byte {
	out := make([]byte, valueHeader+len(payload))
	out[0] = valueVersion
	copy(out[valueHeader:], payload)
	binary.LittleEndian.PutUint32(out[1:], checksum(valueVersion, bucket, key, payload))
	return out
}

// unseal returns the payload as a part of raw, not a copy.
func unseal(bucket, key string, raw []byte) ([]byte, error) {
	if len(raw) < valueHeader {
		return nil, fmt.Errorf("%w: %d bytes where at least %d belong", ErrBadValue, len(raw), valueHeader)
	}
	payload := raw[valueHeader:]
	found := binary.LittleEndian.Uint32(raw[1:])
	want := checksum(raw[0], bucket, key, payload)
	if found != want {
		return nil, fmt.Errorf("%w: checksum %08x where %08x belongs", ErrBadValue, found, want)
	}
	// Only after the checksum: a flipped bit in the version is damage, not age.
	if raw[0] != valueVersion {
		return nil, fmt.Errorf("%w: it has format %d and this nominald reads format %d; run the version that wrote it",
			ErrBadValue, raw[0], valueVersion)
	}
	return payload, nil
}

func checksum(version byte, bucket, key string, payload []byte) uint32 {
	// The lengths keep ("ab", "c") and ("a", "bc") apart. One buffer: every
	// call of crc32.Update would make its own slice escape.
	head := make([]byte, 0, 64)
	head = append(head, version)
	head = binary.AppendUvarint(head, uint64(len(bucket)))
	head = append(head, bucket...)
	head = binary.AppendUvarint(head, uint64(len(key)))
	head = append(head, key...)
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Update(0, table, head), table, payload)
}
