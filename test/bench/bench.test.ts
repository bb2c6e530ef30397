import './checks.cases.js'
import './load.cases.js'
import './results.cases.js'
