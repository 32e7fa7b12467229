// node fetch.mjs ADDRESS CID FILE SECONDS: fetches a file from that peer alone and writes it. Exit code 1 and a reason when it can't.
import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { unixfs } from '@helia/unixfs'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { start } from './node.mjs'

const [address, cid, file, seconds] = process.argv.slice(2)
try {
  const helia = await start()
  await helia.libp2p.dial(multiaddr(address))
  const signal = AbortSignal.timeout(Number(seconds) * 1000)
  await pipeline(Readable.from(unixfs(helia).cat(CID.parse(cid), { signal })), createWriteStream(file))
  process.exit(0)
} catch (error) {
  console.error(error)
  process.exit(1)
}
