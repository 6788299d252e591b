package database

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// tree reads the file of a database of bbolt. bbolt trusts the pages of a file: a page that refers to one above it sends
// it round for ever. tree reaches each page once, and passes on only what lies where it should.
type tree struct {
	file  io.ReaderAt
	size  uint64          // octets of the file
	page  uint64          // octets of a page
	used  map[uint64]bool // pages that have been reached, or are free
	visit func(path []string, key, value []byte)
	fault error // the first
}

// meta is what bbolt knows about a file after a transaction.
type meta struct{ page, root, free, end, transaction uint64 }

// The layout of a file, in octets and in the order of octets of the machine.
const (
	headSize    = 16 // number, type, count of elements, and count of further pages
	elementSize = 16
	bucketSize  = 16 // number of the first page, and a sequence
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchPage = 0x01
	leafPage   = 0x02
	freePage   = 0x10
	isBucket   = 1 // flag of an element of a leaf

	maxDepth = 40 // pages above a page; a branch has at least two elements
)

var native = binary.NativeEndian

// Read calls visit with each key in a file that can be read, in order, and with the names of the buckets that it is in.
// visit must not keep its arguments. Read returns an error, an ErrDamaged, if not everything is sound.
func Read(file io.ReaderAt, size int64, visit func(path []string, key, value []byte)) error {
	t := &tree{file: file, size: uint64(max(size, 0)), used: map[uint64]bool{}, visit: visit}
	m, ok := t.meta()
	if !ok {
		t.wrong("no page says where the data is")
		return t.fault
	}
	t.page = m.page
	t.free(m)
	(&bucket{tree: t}).read(m.root, 0)
	return t.fault
}

func (t *tree) wrong(format string, args ...any) {
	if t.fault == nil {
		t.fault = fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
	}
}

// meta returns what the last transaction has written, or if that is damaged the one before.
func (t *tree) meta() (last meta, ok bool) {
	first, ok := t.metaAt(0)
	page := first.page
	for try := uint64(1 << 10); !ok && page == 0 && try <= 1<<24; try <<= 1 {
		if second, found := t.metaAt(try); found && second.page == try {
			page = try
		}
	}
	if page == 0 {
		return meta{}, false
	}
	second, also := t.metaAt(page)
	if also = also && second.page == page; !ok || !also {
		t.wrong("one of the first two pages is unreadable")
	}
	if !ok || also && second.transaction > first.transaction {
		return second, also
	}
	return first, true
}

func (t *tree) metaAt(offset uint64) (meta, bool) {
	b := make([]byte, metaSize)
	if _, err := t.file.ReadAt(b, int64(offset+headSize)); err != nil {
		return meta{}, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8])
	m := meta{page: uint64(native.Uint32(b[8:])), root: native.Uint64(b[16:]), free: native.Uint64(b[32:]), end: native.Uint64(b[40:]), transaction: native.Uint64(b[48:])}
	return m, native.Uint32(b) == metaMagic && native.Uint32(b[4:]) == metaVersion && native.Uint64(b[metaSize-8:]) == sum.Sum64() &&
		m.page >= 1<<10 && m.page <= 1<<24 && m.page&(m.page-1) == 0
}

// free reads which pages are free.
func (t *tree) free(m meta) {
	page := t.load(m.free)
	if page == nil || native.Uint16(page[8:]) != freePage {
		t.wrong("page %d does not say which pages are free", m.free)
		return
	}
	ids, count := page[headSize:], uint64(native.Uint16(page[10:]))
	if count == 0xFFFF {
		ids, count = ids[8:], native.Uint64(ids)
	}
	if count > uint64(len(ids)/8) {
		t.wrong("page %d says that %d pages are free", m.free, count)
		return
	}
	for i := range count {
		id := native.Uint64(ids[8*i:])
		if id < 2 || id >= m.end || t.used[id] {
			t.wrong("page %d is free, and used", id)
			return
		}
		t.used[id] = true
	}
}

// load returns a page with those that belong to it, unless it has been reached before; nil if it is not sound.
func (t *tree) load(id uint64) []byte {
	pages := t.size / t.page
	if id < 2 || id >= pages || t.used[id] {
		t.wrong("page %d is out of place", id)
		return nil
	}
	head := make([]byte, headSize)
	if _, err := t.file.ReadAt(head, int64(id*t.page)); err != nil {
		t.wrong("page %d: %w", id, err)
		return nil
	}
	count := 1 + uint64(native.Uint32(head[12:]))
	if native.Uint64(head) != id || count > pages-id {
		t.wrong("page %d is another", id)
		return nil
	}
	for n := id; n < id+count; n++ {
		if t.used[n] {
			t.wrong("page %d is part of two", n)
			return nil
		}
		t.used[n] = true
	}
	page := make([]byte, count*t.page)
	if _, err := t.file.ReadAt(page, int64(id*t.page)); err != nil {
		t.wrong("page %d: %w", id, err)
		return nil
	}
	return page
}

// bucket is what is read of a bucket.
type bucket struct {
	*tree

	path  []string
	floor []byte // no key that follows may be less
	last  []byte // the newest key of a leaf; every key that follows must be greater
}

// read reads a page of a bucket, and those below it.
func (b *bucket) read(id uint64, depth int) {
	if page := b.load(id); page != nil {
		b.elements(page, depth)
	}
}

// elements reads the elements of a page.
func (b *bucket) elements(page []byte, depth int) {
	if len(page) < headSize || depth > maxDepth {
		b.wrong("a page is too short, or too deep in the tree")
		return
	}
	kind, count := native.Uint16(page[8:]), uint64(native.Uint16(page[10:]))
	size, taken := uint64(len(page)), headSize+count*elementSize
	if kind != leafPage && (kind != branchPage || count == 0) || taken > size {
		b.wrong("page %d is no page of a tree", native.Uint64(page))
		return
	}
	for i := range count {
		at := headSize + i*elementSize
		e := page[at : at+elementSize]
		start, keyEnd, end := at+uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), uint64(0)
		if kind == leafPage {
			start, keyEnd, end = at+uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		}
		taken += keyEnd + end
		keyEnd += start
		end += keyEnd
		if keyEnd == start || end > size || taken > size {
			b.wrong("an element of page %d is too long", native.Uint64(page))
			return
		}
		key := page[start:keyEnd]
		if bytes.Compare(key, b.floor) < 0 || b.last != nil && bytes.Compare(key, b.last) <= 0 {
			b.wrong("keys are not in order")
		}
		if kind == branchPage {
			b.floor = key
			b.read(native.Uint64(e[8:]), depth+1)
			continue
		}
		b.floor, b.last = key, key
		b.leaf(native.Uint32(e), key, page[keyEnd:end], depth)
	}
}

// leaf reads an element of a leaf: a value, or a bucket, which is in other pages or, if it is small, in the element.
func (b *bucket) leaf(flags uint32, key, value []byte, depth int) {
	switch {
	case flags == 0:
		b.visit(b.path, key, value)
	case flags != isBucket || len(value) < bucketSize:
		b.wrong("an element is neither a value nor a bucket")
	default:
		inner := &bucket{tree: b.tree, path: append(b.path[:len(b.path):len(b.path)], string(key))}
		if root := native.Uint64(value); root != 0 {
			inner.read(root, depth+1)
		} else {
			inner.elements(value[bucketSize:], depth+1)
		}
	}
}
