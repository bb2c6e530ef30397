import type { Scenario } from '../harness/scenario.js'
import { append1 } from './append-1.js'
import { append1000 } from './append-1000.js'
import { append32 } from './append-32.js'
import { fanOut } from './fan-out.js'
import { growth } from './growth.js'
import { idle } from './idle.js'
import { live1000 } from './live-1000.js'
import { liveLatency } from './live-latency.js'
import { replayLarge } from './replay-large.js'
import { replayMany } from './replay-many.js'
import { storm } from './storm.js'
import { userPublish } from './user-publish.js'
import { userTail } from './user-tail.js'

/** In the order of the report. A new scenario is a file here and a line in this list. */
export const scenarios: readonly Scenario[] = [append1, append32, append1000, liveLatency, live1000, fanOut, replayLarge, replayMany, idle, storm, growth, userPublish, userTail]
