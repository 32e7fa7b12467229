// node serve.mjs FILE CHUNK_BYTES: adds a file, prints one line of JSON {cid, addresses}, and serves until it is ended.
import { createReadStream } from 'node:fs'
import { unixfs } from '@helia/unixfs'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { start } from './node.mjs'

const [file, chunk] = process.argv.slice(2)
const helia = await start()
const added = await unixfs(helia).addByteStream(createReadStream(file), { chunker: fixedSize({ chunkSize: Number(chunk) }) })
const cid = (added.cid ?? added).toString()
console.log(JSON.stringify({ cid, addresses: helia.libp2p.getMultiaddrs().map(String) }))
// The pipe to whoever started this closes when it is gone, however it went.
process.stdin.on('end', () => process.exit(0)).resume()
