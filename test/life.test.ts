import './judge.cases.js'
