// node rpc.mjs URL TOKEN: uses a node through kubo-rpc-client as a program would. Exit code 1 and a reason when anything is not as it
// should be. Prints one line of JSON: what it added.
import assert from 'node:assert/strict'
import { create } from 'kubo-rpc-client'

const [url, token] = process.argv.slice(2)
const ipfs = create({ url, headers: { Authorization: `Bearer ${token}` } })
const all = async (source) => { const list = []; for await (const item of source) list.push(item); return list }
const whole = async (source) => Buffer.concat(await all(source))

const noise = Buffer.alloc(700_000)
for (let i = 0, x = 1; i < noise.length; i++) { x = (x * 1103515245 + 12345) & 0x7fffffff; noise[i] = x >> 16 }

const id = await ipfs.id()
assert.ok(id.id.toString().startsWith('12D3Koo') && id.publicKey.length > 0)
assert.ok((await ipfs.version()).version.length > 0)

const one = await ipfs.add({ path: 'file name+.bin', content: noise })
assert.equal(one.path, 'file name+.bin')
assert.deepEqual(await whole(ipfs.cat(one.cid)), noise)
assert.deepEqual(await whole(ipfs.cat(one.cid, { offset: 300_000, length: 5 })), noise.subarray(300_000, 300_005))

// Directories that nobody named, in no order.
const tree = await all(ipfs.addAll([
  { path: 'd/x/1', content: 'one' }, { path: 'd/y/2', content: 'two' }, { path: 'd/x/3', content: 'three' }
], { cidVersion: 1, pin: false }))
const root = tree.find((entry) => entry.path === 'd')
assert.deepEqual((await all(ipfs.ls(root.cid))).map((entry) => [entry.name, entry.type]), [['x', 'dir'], ['y', 'dir']])
assert.equal((await whole(ipfs.cat(`${root.cid}/x/3`))).toString(), 'three')
const wrapped = await all(ipfs.addAll([{ path: 'a', content: 'a' }], { wrapWithDirectory: true, onlyHash: true }))
assert.equal(wrapped.length, 2)
await assert.rejects(ipfs.add('x', { chunker: 'buzhash' }), /chunker/)
await assert.rejects(ipfs.add('x', { nocopy: true }), /nocopy/)

const block = await ipfs.block.put(Buffer.from('a block'))
assert.equal(Buffer.from(await ipfs.block.get(block)).toString(), 'a block')
assert.equal((await ipfs.block.stat(block)).size, 7)

const value = { hello: 'world', link: root.cid, bytes: Uint8Array.of(1, 2) }
const dag = await ipfs.dag.put(value, { pin: true })
assert.deepEqual((await ipfs.dag.get(dag)).value, value)
assert.equal((await ipfs.dag.resolve(`${dag}/link/x`)).cid.toString(), tree.find((entry) => entry.path === 'd/x').cid.toString())
const car = await whole(ipfs.dag.export(root.cid))
const imported = await all(ipfs.dag.import([car]))
assert.equal(imported[0].root.cid.toString(), root.cid.toString())
assert.equal(imported[0].root.pinErrorMsg, '')

const pinned = async (options) => (await all(ipfs.pin.ls(options))).map((pin) => `${pin.cid} ${pin.type}`)
assert.ok((await pinned({ type: 'recursive' })).includes(`${one.cid} recursive`))
await ipfs.pin.rm(one.cid)
assert.ok(!(await pinned({ type: 'recursive' })).includes(`${one.cid} recursive`))
await assert.rejects(ipfs.pin.rm(one.cid), /not pinned/)
assert.equal((await ipfs.pin.add(one.cid)).toString(), one.cid.toString())
// (A block is listed by the pins that cover it.)
const inside = tree.find((entry) => entry.path === 'd/x').cid
assert.ok((await pinned({ type: 'indirect' })).includes(`${inside} indirect`))
await all(ipfs.block.rm(block))

const stat = await ipfs.repo.stat()
assert.ok(stat.numObjects > 0n && stat.repoSize > 0n)
await all(ipfs.repo.gc())
assert.deepEqual(await whole(ipfs.cat(one.cid)), noise)
assert.deepEqual(await ipfs.swarm.peers(), [])
assert.ok((await all(ipfs.refs(root.cid, { recursive: true }))).length === 5)
assert.equal(await ipfs.resolve(`/ipfs/${root.cid}/x`), `/ipfs/${inside}`)

const stranger = create({ url })
await assert.rejects(stranger.id(), /token/)
console.log(JSON.stringify({ file: one.cid.toString(), tree: root.cid.toString() }))
process.exit(0)
